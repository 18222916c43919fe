// The browser's GPU, as far as it can be told before it is used.

import { possible } from "./suspend.js";

/** Its name and whether it is software, which is slower than the library's own; or why there is none that the library can use. */
export async function gpu() {
  if (!navigator.gpu) return { missing: "this browser has no WebGPU here" };
  if (!possible) return { missing: "this browser cannot suspend WebAssembly, which waiting for its GPU takes" };
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return { missing: "this browser finds no GPU" };
  const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
  const name = description || [vendor, architecture].filter(Boolean).join(" ");
  return { name, software: isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${name} ${architecture}`) };
}

// wgpu knows no internal errors of a driver, and stops the program at one: they come to it as what they are to the library anyway, a
// refusal.
if (globalThis.GPUDevice) {
  const { popErrorScope } = GPUDevice.prototype;
  GPUDevice.prototype.popErrorScope = async function () {
    const error = await popErrorScope.call(this);
    return error instanceof GPUInternalError ? new GPUValidationError(error.message) : error;
  };
}
