// How the page is built: static files with names that follow their content, into the Python package.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { defineConfig } from "vite";

// Whose code is in the built files, also where it comes as one file that was built elsewhere: the sheet music library
// holds its own dependencies, and the synthesiser's worklet its core and decoder.
const SHIPPED = [
  "preact",
  "@preact/signals",
  "@preact/signals-core",
  "opensheetmusicdisplay",
  "vexflow",
  "jszip",
  "pako",
  "lie",
  "immediate",
  "setimmediate",
  "readable-stream",
  "loglevel",
  "typescript-collections",
  "spessasynth_lib",
  "spessasynth_core",
  "stb-vorbis",
];

/** A file with the licences of all that is shipped. */
function licences() {
  return {
    name: "licences",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "licences.txt", source: SHIPPED.map(licence).join("\n\n\n") });
    },
  };
}

function licence(name) {
  const folder = `node_modules/${name}`;
  const { version, license, author } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  const text =
    file && existsSync(`${folder}/${file}`) ? readFileSync(`${folder}/${file}`, "utf8").trim() : "";
  const by = typeof author === "string" ? author : (author?.name ?? "");
  return `${name} ${version}: ${license}${by ? `, by ${by}` : ""}\n\n${text}`;
}

export default defineConfig({
  base: "./",
  plugins: [licences()],
  build: {
    outDir: "../src/cadenza/web/page",
    emptyOutDir: true,
    // The server's policy allows no scripts or fonts in data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The sheet music library is large, and only loaded by who opens a sheet.
    chunkSizeWarningLimit: 1500,
    target: "es2022",
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
