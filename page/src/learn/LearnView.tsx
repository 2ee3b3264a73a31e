export function LearnView() { return <p>soon</p>; }
