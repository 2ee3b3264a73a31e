// What a model would learn from: totals, and what most of it is like.
import type { Totals } from "../api";
import { readable } from "../stage/tracks";

const ROWS = 5;

export function Preview({ totals, files }: { totals: Totals; files: number }) {
  // Files that could not be read are not among the totals.
  const skipped = files - totals.pieces;
  const styles = Object.fromEntries(
    Object.entries(totals.styles).map(([name, count]) => [name || "no folder", count]),
  );
  return (
    <>
      <dl class="totals">
        <Total
          what={totals.pieces === 1 ? "piece to learn from" : "pieces to learn from"}
          value={String(totals.pieces)}
        />
        <Total what="left out" value={String(skipped)} />
        <Total what="notes" value={totals.notes.toLocaleString("en-GB")} />
        <Total what="of music" value={length(totals.hours)} />
      </dl>
      {totals.pieces > 0 && (
        <div class="preview">
          <Share title="Keys" counts={totals.keys} />
          <Share title="Metres" counts={totals.metres} />
          <Share title="Instruments" counts={totals.instruments} name={readable} />
          <Share title="Styles" counts={styles} />
        </div>
      )}
    </>
  );
}

function length(hours: number): string {
  const minutes = Math.round(hours * 60);
  return minutes < 1
    ? `${Math.round(hours * 3600)} s`
    : minutes < 90
      ? `${minutes} min`
      : `${hours.toFixed(1)} h`;
}

function Total({ what, value }: { what: string; value: string }) {
  return (
    <div>
      <dt>{what}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Share({
  title,
  counts,
  name = (text) => text,
}: {
  title: string;
  counts: Record<string, number>;
  name?: (text: string) => string;
}) {
  const rows = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const most = rows[0]?.[1] ?? 1;
  const rest = rows.length - ROWS;
  return (
    <section class="share">
      <h3>{title}</h3>
      <ul>
        {rows.slice(0, ROWS).map(([what, count]) => (
          <li key={what}>
            <span class="share-what">{name(what)}</span>
            <span class="share-bar" aria-hidden="true">
              <span style={{ width: `${(100 * count) / most}%` }} />
            </span>
            <span class="share-count">{count}</span>
          </li>
        ))}
      </ul>
      {rest > 0 && <p class="hint">and {rest} more</p>}
    </section>
  );
}
