// History: everything composed here, newest first, with its settings, seed and originality.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Piece, api, told } from "../api";
import { Empty, Problem } from "../ui/parts";
import { Compare } from "./Compare";
import { PieceRow } from "./PieceRow";

const PORTION = 40;

export function HistoryView() {
  const pieces = useSignal<Piece[] | null>(null);
  const more = useSignal(false);
  const starred = useSignal(false);
  const samples = useSignal(false);
  const picked = useSignal<Piece[]>([]);
  const problem = useSignal("");
  const load = async (before?: number) => {
    try {
      const found = await api.pieces({ limit: PORTION, ...(before === undefined ? {} : { before }) });
      pieces.value = before === undefined ? found : [...(pieces.peek() ?? []), ...found];
      more.value = found.length === PORTION;
    } catch (error) {
      problem.value = told(error);
    }
  };
  useEffect(() => void load(), []);
  const change = (id: string, now: Piece | null) => {
    pieces.value = (pieces.peek() ?? []).flatMap((each) => (each.id === id ? (now ? [now] : []) : [each]));
    picked.value = picked.peek().filter((each) => each.id !== id || now);
  };
  const pick = (piece: Piece) => {
    const others = picked.peek().filter((each) => each.id !== piece.id);
    picked.value = others.length < picked.peek().length ? others : [...picked.peek().slice(-1), piece];
  };
  if (!pieces.value) return <Problem text={problem.value} />;
  const shown = pieces.value.filter((each) => (!starred.value || each.star) && (samples.value || !each.sample));
  return (
    <div class="history">
      {picked.value.length === 2 && <Compare key={picked.value.map((each) => each.id).join()} pieces={picked.value as [Piece, Piece]} onClose={() => (picked.value = [])} />}
      <section class="panel" aria-label="Pieces">
        <div class="row history-top">
          <label class="check">
            <input type="checkbox" checked={starred.value} onChange={(event) => (starred.value = event.currentTarget.checked)} />
            <span>Starred only</span>
          </label>
          <label class="check">
            <input type="checkbox" checked={samples.value} onChange={(event) => (samples.value = event.currentTarget.checked)} />
            <span>With samples of trainings</span>
          </label>
          <span class="hint" role="status">
            {picked.value.length === 1 ? "Choose one more to compare." : `${shown.length} pieces`}
          </span>
        </div>
        <Problem text={problem.value} />
        {!shown.length && <Empty title={starred.value ? "Nothing starred yet" : "Nothing composed yet"} />}
        <ul class="pieces">
          {shown.map((each, n) => (
            <PieceRow key={each.id} piece={each} day={n === 0 || day(shown[n - 1]!) !== day(each) ? day(each) : ""} picked={picked.value.some((other) => other.id === each.id)} onPick={() => pick(each)} onChange={(now) => change(each.id, now)} />
          ))}
        </ul>
        {more.value && (
          <button type="button" class="quiet" onClick={() => void load(pieces.peek()!.at(-1)!.created)}>
            Show older ones
          </button>
        )}
      </section>
    </div>
  );
}

function day(piece: Piece): string {
  return new Date(piece.created * 1000).toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });
}
