// Server-sent events read from a stream (WHATWG HTML, 9.2), since EventSource can send no token.

export interface Notice {
  id: number | null;
  event: string;
  data: string;
}

/** Takes text in pieces of any size and returns the notices that are complete. */
export class NoticeParser {
  private rest = "";
  private id: number | null = null;
  private event = "";
  private data: string[] = [];

  take(text: string): Notice[] {
    const found: Notice[] = [];
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      const notice = this.line(line);
      if (notice) found.push(notice);
    }
    return found;
  }

  private line(line: string): Notice | null {
    if (line === "") return this.dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id" && /^\d+$/.test(value)) this.id = Number(value);
    return null;
  }

  private dispatch(): Notice | null {
    const notice = this.data.length
      ? { id: this.id, event: this.event || "message", data: this.data.join("\n") }
      : null;
    this.event = "";
    this.data = [];
    return notice;
  }
}
