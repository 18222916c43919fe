// How large the page's program is, compressed, and what of its code is the ONNX shape solver's: `node size.mjs PAGE COMPILED.wasm`, where the
// second has the names of its functions still.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";

const LIMIT = 6e6;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

/** Numbers and strings of a WebAssembly module, one after the other. */
class Reader {
  constructor(bytes, at = 0) {
    Object.assign(this, { bytes, at });
  }

  number() {
    for (let [value, shift] = [0, 0]; ; shift += 7) {
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  text() {
    const length = this.number();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }
}

/** The bytes of code of each function, by its name. */
function functions(bytes) {
  const [sizes, names] = [[], new Map()];
  const module = new WebAssembly.Module(bytes);
  const imported = WebAssembly.Module.imports(module).filter(({ kind }) => kind === "function").length;
  const reader = new Reader(bytes, 8);
  while (reader.at < bytes.length) {
    const [kind, length] = [reader.number(), reader.number()];
    const end = reader.at + length;
    if (kind === 10) {
      for (let count = reader.number(); count; count--) {
        const size = reader.number();
        sizes.push(size);
        reader.at += size;
      }
    } else if (kind === 0 && reader.text() === "name") {
      while (reader.at < end) {
        const [part, size] = [reader.number(), reader.number()];
        const next = reader.at + size;
        if (part === 1) for (let count = reader.number(); count; count--) names.set(reader.number(), reader.text());
        reader.at = next;
      }
    }
    reader.at = end;
  }
  return sizes.map((size, at) => [names.get(at + imported) ?? "", size]);
}

const [page, compiled] = process.argv.slice(2);
const wasm = readFileSync(join(page, "dpc_web_bg.wasm"));
const zipped = gzipSync(wasm, { level: 9 }).length;
const all = functions(readFileSync(compiled));
const total = all.reduce((sum, [, size]) => sum + size, 0);
const solver = all.filter(([name]) => /tract/.test(name)).reduce((sum, [, size]) => sum + size, 0);
const share = solver / total;
console.log(`dpc_web_bg.wasm: ${megabytes(wasm.length)}, ${megabytes(zipped)} by gzip, ${megabytes(brotliCompressSync(wasm).length)} by brotli`);
console.log(`of its code ${(100 * share).toFixed(0)} % is the ONNX shape solver's (tract): some ${megabytes(zipped * share)} of what gzip makes of it`);
if (zipped >= LIMIT) {
  console.error(`that is more than ${megabytes(LIMIT)}`);
  process.exit(1);
}
