// Mine, or a copy? What a piece shares with what its model learned from, and a way to hear that.
import { useSignal } from "@preact/signals";
import { type Piece, api, told } from "../api";
import { Icon } from "../ui/icons";
import { Problem, percent } from "../ui/parts";
import { barStart, quartersOf } from "../score/score";
import { loop, player } from "./player";

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
      {found.longest ? "copies no more than people do" : "no copy found"}
    </span>
  );
}

export function OriginalityNote({ piece }: { piece: Piece }) {
  const problem = useSignal("");
  const found = piece.sidecar.originality;
  if (!found)
    return (
      <p class="hint">
        Nothing is known of its originality: its notes are those of its source, or its model has no index of
        what it learned from.
      </p>
    );
  const listen = async (there: boolean) => {
    problem.value = "";
    try {
      const origin = await api.origin(piece.id);
      const score = there ? origin.score : await api.pieceScore(piece.id);
      if (!score) throw new Error(`The notes of ${origin.piece} are not at hand any more.`);
      const [first, last] = there ? origin.bars_there : origin.bars;
      const title = `${there ? origin.piece : piece.name}, ${bars([first, last])}`;
      player.load(
        [
          {
            id: `${there ? "origin" : "passage"} ${piece.id}`,
            title,
            kind: there ? "origin" : "piece",
            source: there ? null : piece.id,
            score,
            complete: true,
          },
        ],
        0,
        "origin",
      );
      player.seek(barStart(score, first));
      loop.value = {
        from: barStart(score, first),
        until: Math.min(quartersOf(score), barStart(score, last + 1)),
      };
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
            Shares at most {longest.notes} notes in a row, {bars(longest.bars)}, with <b>{longest.piece}</b>,{" "}
            {bars(longest.bars_there)}; {percent(share)} of it in all.
          </>
        ) : (
          <>Shares no passage with what its model learned from.</>
        )}{" "}
        <span class="hint">
          95 in 100 pieces by people share at most {Math.round(people.notes[1])} notes.
        </span>
      </p>
      {longest && (
        <div class="row" role="group" aria-label="Hear the passage">
          <button type="button" class="quiet" onClick={() => void listen(true)}>
            <Icon name="play" />
            Hear what it resembles
          </button>
          <button type="button" class="quiet" onClick={() => void listen(false)}>
            <Icon name="play" />
            Hear the same bars of this piece
          </button>
        </div>
      )}
      <Problem text={problem.value} />
    </div>
  );
}
