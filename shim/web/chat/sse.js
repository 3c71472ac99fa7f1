// Server-sent events: bytes in, the data of whole events out. Rule: `decode` for each read, `flush` once at the end.

export class EventReader {
  constructor() {
    this.decoder = new TextDecoder();
    this.rest = "";
    this.data = [];
  }

  /** The data of every event that `bytes` completes. */
  decode(bytes) {
    return this.take(this.decoder.decode(bytes, { stream: true }));
  }

  /** What is left when the stream has ended: an event without its blank line counts. */
  flush() {
    return this.take(`${this.decoder.decode()}\n\n`);
  }

  take(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    return lines.map((line) => this.line(line.endsWith("\r") ? line.slice(0, -1) : line)).filter((data) => data !== null);
  }

  line(line) {
    if (line.startsWith("data:")) this.data.push(line.slice(line[5] === " " ? 6 : 5));
    if (line !== "" || !this.data.length) return null;
    const data = this.data.join("\n");
    this.data = [];
    return data;
  }
}
