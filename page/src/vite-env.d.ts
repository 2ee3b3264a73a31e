// Addresses of files that the build names.
/// <reference types="vite/client" />
