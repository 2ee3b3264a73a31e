export function MusicView() { return <p>soon</p>; }
