// The parser of server-sent events against what WHATWG HTML, 9.2, says of them.
import { describe, expect, it } from "vitest";
import { type Notice, NoticeParser } from "../src/sse";

const STREAM =
  'id: 1\nevent: draft\ndata: {"piece": 1}\n\n: still there\n\nid: 2\nevent: note\ndata: one\ndata: two\n\nevent: end\ndata: {"state": "done"}\n\n';

function parsed(pieces: string[]): Notice[] {
  const parser = new NoticeParser();
  return pieces.flatMap((piece) => parser.take(piece));
}

describe("notices", () => {
  it("are read with their number, name and lines of data", () => {
    expect(parsed([STREAM])).toEqual([
      { id: 1, event: "draft", data: '{"piece": 1}' },
      { id: 2, event: "note", data: "one\ntwo" },
      { id: 2, event: "end", data: '{"state": "done"}' },
    ]);
  });

  it("are the same wherever the stream is cut", () => {
    for (let cut = 1; cut < STREAM.length; cut++)
      expect(parsed([STREAM.slice(0, cut), STREAM.slice(cut)])).toEqual(parsed([STREAM]));
  });

  it("may end their lines with CR and LF, even if these come apart", () => {
    const windows = STREAM.replaceAll("\n", "\r\n");
    for (let cut = 1; cut < windows.length; cut++)
      expect(parsed([windows.slice(0, cut), windows.slice(cut)])).toEqual(parsed([STREAM]));
  });

  it("without data are none, and comments neither", () => {
    expect(parsed([": hello\n\nevent: nothing\n\ndata: x\n\n"])).toEqual([
      { id: null, event: "message", data: "x" },
    ]);
  });
});
