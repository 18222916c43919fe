// How the library waits for the GPU: suspended until it is woken. Only what `WebAssembly.promising` has entered can be.

let go = null;
const woken = () => new Promise((resolve) => (go = resolve));

/** Whether this browser can suspend a program of WebAssembly. */
export const possible = "Suspending" in WebAssembly;

export const suspend = possible ? new WebAssembly.Suspending(woken) : () => {
  throw new Error("this browser cannot suspend the library");
};

export const wake = () => go?.();
