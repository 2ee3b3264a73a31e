// How the page is built: static files with names that follow their content, into the Python package.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/cadenza/web/page",
    emptyOutDir: true,
    // The server's policy allows no scripts or fonts in data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licences.md" },
    // The sheet music library is large, and only loaded by who opens a sheet.
    chunkSizeWarningLimit: 1500,
    target: "es2022",
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
