// Where the page begins.
import { render } from "preact";
import { takeToken } from "./api";
import { App } from "./app";
import { resume } from "./compose/session";
import { listen } from "./help";
import { begin, startProblem } from "./state";
import "./style.css";

takeToken();
listen();
render(<App />, document.getElementById("app")!);
void begin().then(() => {
  if (!startProblem.peek()) resume().catch(() => undefined);
});
