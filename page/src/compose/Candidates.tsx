// The candidates: a card each, as soon as there is something of it, and the one that is looked at in full.
import { useRef } from "preact/hooks";
import { barCount } from "../score/score";
import { OriginalityNote, Verdict } from "../stage/Originality";
import { SmallRoll } from "../stage/Roll";
import { Stage, isLive } from "../stage/Stage";
import { TakeHome } from "../stage/TakeHome";
import { Icon } from "../ui/icons";
import { Empty } from "../ui/parts";
import { PieceActions } from "./PieceActions";
import {
  type Candidate,
  OWNER,
  candidates,
  chooseBars,
  chosenBars,
  expected,
  hear,
  pick,
  picked,
  shown,
  shownCandidate,
  source,
  sourceSong,
} from "./session";
import { owner, playing } from "../stage/player";

export function Candidates() {
  const song = shown.value;
  const isSource = picked.value === 0 && source.value;
  const candidate = shownCandidate.value;
  if (!candidates.value.length && !source.value)
    return (
      <section class="results" aria-label="Candidates">
        <Empty title="Nothing composed yet">
          <p>
            Press “Compose”: the chosen model writes four short pieces, and you hear the first while it is
            written.
          </p>
          <p class="hint">Keys 1 to 4 switch between them, the space bar plays and pauses.</p>
        </Empty>
      </section>
    );
  return (
    <section class="results" aria-label="Candidates">
      <Cards />
      {song && (
        <>
          {!isLive(song, OWNER) && (
            <p class="row hear">
              <span class="hint">
                {playing.value ? "What you were listening to goes on." : "Something else is in the player."}
              </span>
              <button type="button" class="quiet" onClick={() => void hear()}>
                <Icon name="play" />
                Hear {song.title}
              </button>
            </p>
          )}
          <Stage
            song={song}
            by={OWNER}
            chosen={isSource ? chosenBars.value : []}
            onChoose={isSource ? chooseBars : undefined}
            expected={song.complete ? 0 : expected.value}
          />
          {isSource && <p class="hint">This is what it starts from. Drag over the roll to choose bars.</p>}
          {candidate?.piece && (
            <div class="of-piece">
              <OriginalityNote piece={candidate.piece} />
              <PieceActions piece={candidate.piece} />
              <TakeHome id={candidate.piece.id} title={candidate.piece.name} />
            </div>
          )}
        </>
      )}
    </section>
  );
}

function Cards() {
  const group = useRef<HTMLDivElement>(null);
  const first = sourceSong.value ? 0 : 1;
  const last = candidates.value.length;
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    pick(Math.min(last, Math.max(first, picked.peek() + step)));
    requestAnimationFrame(() => group.current?.querySelector<HTMLElement>('[aria-checked="true"]')?.focus());
  };
  return (
    <div class="cards" role="radiogroup" aria-label="Which to hear" ref={group} onKeyDown={move}>
      {sourceSong.value && (
        <Card number={0} song={sourceSong.value.title} score={sourceSong.value.score} note="the source" />
      )}
      {candidates.value.map((each, n) => (
        <Card
          key={each.song.id}
          number={n + 1}
          song={each.song.title}
          score={each.song.score}
          note={noteOn(each)}
          candidate={each}
        />
      ))}
    </div>
  );
}

function noteOn({ song, piece }: Candidate): string {
  if (piece) return [song.score.key, `${barCount(song.score)} bars`].filter(Boolean).join(", ");
  return song.score.onset.length ? `writing bar ${barCount(song.score)} …` : "waiting …";
}

interface CardProps {
  number: number;
  song: string;
  score: Candidate["song"]["score"];
  note: string;
  candidate?: Candidate;
}

function Card({ number, song, score, note, candidate }: CardProps) {
  const here = picked.value === number;
  return (
    <button
      type="button"
      role="radio"
      aria-checked={here}
      tabIndex={here ? 0 : -1}
      class="card"
      aria-label={`${number}: ${song}, ${note}${candidate?.piece?.sidecar.originality?.may_be_memorised ? ", may be memorised" : ""}`}
      onClick={() => pick(number)}
    >
      <span class="card-top">
        <kbd>{number}</kbd>
        {here && playing.value && owner.value === OWNER && <Icon name="volume" />}
        <span class="card-note">{note}</span>
      </span>
      <SmallRoll
        score={score}
        {...(candidate && !candidate.piece && expected.value ? { expected: expected.value } : {})}
      />
      {candidate?.piece && candidate.piece.sidecar.originality?.may_be_memorised && (
        <Verdict piece={candidate.piece} />
      )}
    </button>
  );
}
