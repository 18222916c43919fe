// The service worker: keeps the page's own files, so that it opens without a network. It asks for nothing but them.

const KEPT = "dpc";
const FILES = ["./", "index.html", "style.css", "page.js", "plot.js", "worker.js", "store.js", "gpu.js", "suspend.js", "dpc_web.js", "dpc_web_bg.wasm",
  "example/digits_cnn.onnx", "example/digits_train.npz", "example/digits_test.npz"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(FILES)));
});

// What the server has counts, so that a new version is seen; what is kept is for when there is none.
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(fetch(request).catch(() => caches.match(request, { ignoreSearch: true })));
});
