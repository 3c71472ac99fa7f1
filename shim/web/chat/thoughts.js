// What a model shows of its thinking, as it is read: headings stand out. Rule: a heading is a short line by itself that
// something follows; the web backend sends it as a paragraph like any other.

const HEADING = /^(?![-*#>|`\d])[^\n]{2,80}[^\s.!?:;,…]$/;

const paragraphs = (text) => text.split(/\n{2,}/);
const isHeading = (paragraph) => HEADING.test(paragraph.trim());

/** The text as Markdown, its headings bold. */
export function withHeadings(text) {
  const all = paragraphs(text);
  return all.map((one, place) => (place < all.length - 1 && isHeading(one) ? `**${one.trim().replaceAll("*", "")}**` : one)).join("\n\n");
}

/** The heading that the thinking has come to; "" where there is none yet. */
export const newestHeading = (text) => (paragraphs(text).slice(0, -1).findLast(isHeading) ?? "").trim();
