// The icons, drawn for this page on a grid of 24; words beside them or labels carry the meaning.

const PATHS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  start: "M6 5h2.5v14H6zM19 5v14L9.5 12z",
  stop: "M6.5 6.5h11v11h-11z",
  plus: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  minus: "M5 11h14v2H5z",
  fit: "M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z",
  loop: "M7 7h9V4l5 4-5 4V9H7a3 3 0 0 0-3 3H2a5 5 0 0 1 5-5zM17 17H8v3l-5-4 5-4v3h9a3 3 0 0 0 3-3h2a5 5 0 0 1-5 5z",
  star: "M12 3.5l2.6 5.6 6.1.7-4.5 4.2 1.2 6-5.4-3-5.4 3 1.2-6L3.300 9.800l6.100-.7z",
  hollow:
    "M12 3.500l2.600 5.600 6.100.7-4.500 4.200 1.200 6-5.400-3-5.400 3 1.200-6L3.300 9.800l6.100-.7zm0 4.200l-1.400 3-3.300.4 2.500 2.300-.7 3.200 2.900-1.600 2.900 1.600-.7-3.200 2.500-2.300-3.300-.4z",
  trash: "M9 4h6l1 2h4v2H4V6h4zM6 9h12l-1 11H7z",
  download: "M11 4h2v8h3.500L12 16.500 7.500 12H11zM5 18h14v2H5z",
  sun: "M12 7a5 5 0 1 1 0 10 5 5 0 0 1 0-10zM11 2h2v3h-2zM11 19h2v3h-2zM2 11h3v2H2zM19 11h3v2h-3z",
  moon: "M14 3a9 9 0 1 0 7 12.500A8 8 0 0 1 14 3z",
  help: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zm0 2a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm-1 10.500h2v2h-2zM8.800 9.500a3.200 3.200 0 1 1 4.800 2.800c-.5.3-.6.5-.6 1.200h-2c0-1.500.5-2.200 1.500-2.900a1.200 1.200 0 1 0-1.700-1.100z",
  close:
    "M6.400 5L12 10.600 17.600 5 19 6.400 13.400 12 19 17.600 17.600 19 12 13.400 6.400 19 5 17.600 10.600 12 5 6.400z",
  pen: "M4 20l1-4.500L15.500 5l3.500 3.500L8.500 19z",
  again: "M12 5V2l5 4-5 4V7a5 5 0 1 0 5 5h2a7 7 0 1 1-7-7z",
  check: "M9.500 16.200L5.300 12l-1.500 1.500 5.700 5.700L20.500 8.200 19 6.800z",
  warn: "M12 3l10 18H2zm-1 7v5h2v-5zm0 6.500v2h2v-2z",
  volume: "M4 9h4l5-4v14l-5-4H4zM15.500 8.500a4.500 4.500 0 0 1 0 7z",
  more: "M5 10.500h3v3H5zM10.500 10.500h3v3h-3zM16 10.500h3v3h-3z",
  folder: "M3 6h7l2 2h9v11H3z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} fill="currentColor" fill-rule="evenodd" />
    </svg>
  );
}
