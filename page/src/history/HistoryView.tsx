// History: everything composed here, newest first, candidates of one request together.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Piece, api, told } from "../api";
import { Empty, Problem } from "../ui/parts";
import { Compare } from "./Compare";
import { Request } from "./Request";
import { grouped } from "./grouped";

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
  const shown = pieces.value.filter(
    (each) => (!starred.value || each.star) && (samples.value || !each.sample),
  );
  return (
    <div class="history">
      {picked.value.length === 2 && (
        <Compare
          key={picked.value.map((each) => each.id).join()}
          pieces={picked.value as [Piece, Piece]}
          onClose={() => (picked.value = [])}
        />
      )}
      <section class="panel" aria-label="Pieces">
        <div class="row history-top">
          <Tick label="Starred only" on={starred} />
          <Tick label="With samples of trainings" on={samples} />
          <span class="hint" role="status">
            {picked.value.length === 1
              ? "Choose one more to compare."
              : `${shown.length}${more.value ? " newest" : ""} pieces`}
          </span>
        </div>
        <Problem text={problem.value} />
        {!shown.length && <Empty title={starred.value ? "Nothing starred yet" : "Nothing composed yet"} />}
        {grouped(shown).map(({ day, requests }) => (
          <section key={day} aria-label={day}>
            <h2 class="day">{day}</h2>
            {requests.map((each) => (
              <Request
                key={each[0]!.id}
                pieces={each}
                picked={picked.value}
                onPick={pick}
                onChange={change}
              />
            ))}
          </section>
        ))}
        {more.value && (
          <button type="button" class="quiet" onClick={() => void load(pieces.peek()!.at(-1)!.created)}>
            Show older ones
          </button>
        )}
      </section>
    </div>
  );
}

function Tick({ label, on }: { label: string; on: { value: boolean } }) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={on.value}
        onChange={(event) => (on.value = event.currentTarget.checked)}
      />
      <span>{label}</span>
    </label>
  );
}
