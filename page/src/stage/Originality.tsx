// Mine, or a copy? What a piece shares with what its model learned from, and a way to hear that.
import { useSignal } from "@preact/signals";
import { type Piece, api, told } from "../api";
import { Icon } from "../ui/icons";
import { Problem, percent } from "../ui/parts";
import { player } from "./player";
import { barStart, quartersOf } from "../score/score";
import { loop } from "./player";

export function bars([first, last]: [number, number]): string {
  return first === last ? `bar ${first}` : `bars ${first}–${last}`;
}

export function Verdict({ piece }: { piece: Piece }) {
  const found = piece.sidecar.originality;
  if (!found) return <span class="badge">originality unknown</span>;
  return found.may_be_memorised ? (
    <span class="badge badge-warn">
      <Icon name="warn" />
      may be memorised
    </span>
  ) : (
    <span class="badge badge-good">
      <Icon name="check" />
      original
    </span>
  );
}

export function OriginalityNote({ piece }: { piece: Piece }) {
  const problem = useSignal("");
  const found = piece.sidecar.originality;
  if (!found) return <p class="hint">Nothing is known of its originality: its notes are those of its source, or its model has no index of what it learned from.</p>;
  const listen = async () => {
    problem.value = "";
    try {
      const origin = await api.origin(piece.id);
      if (!origin.score) throw new Error(`The notes of ${origin.piece} are not at hand any more.`);
      const here = await api.pieceScore(piece.id);
      const song = { id: `origin ${piece.id}`, title: `${origin.piece}, ${bars(origin.bars_there)}`, kind: "origin" as const, source: null, score: origin.score, complete: true };
      const mine = { id: `mine ${piece.id}`, title: `${piece.name}, ${bars(origin.bars)}`, kind: "piece" as const, source: piece.id, score: here, complete: true };
      player.load([song, mine], 0, `origin ${piece.id}`);
      player.seek(barStart(origin.score, origin.bars_there[0]));
      loop.value = { from: barStart(origin.score, origin.bars_there[0]), until: Math.min(quartersOf(origin.score), barStart(origin.score, origin.bars_there[1] + 1)) };
      await player.play();
    } catch (error) {
      problem.value = told(error);
    }
  };
  const { longest, share, by_people: people } = found;
  return (
    <div class="originality">
      <p>
        <Verdict piece={piece} />{" "}
        {longest ? (
          <>
            Shares at most {longest.notes} notes in a row, {bars(longest.bars)}, with <b>{longest.piece}</b>, {bars(longest.bars_there)}; {percent(share)} of it in all.
          </>
        ) : (
          <>Shares no passage with what its model learned from.</>
        )}{" "}
        <span class="hint">95 in 100 pieces by people share at most {Math.round(people.notes[1])} notes.</span>
      </p>
      {longest && (
        <button type="button" class="quiet" onClick={() => void listen()}>
          <Icon name="play" />
          Hear the passage it resembles
        </button>
      )}
      <Problem text={problem.value} />
    </div>
  );
}
