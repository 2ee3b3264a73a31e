// What was asked for once, and the pieces that came of it.
import { useSignal } from "@preact/signals";
import { type Piece, told } from "../api";
import { again } from "../compose/session";
import { summary } from "../compose/wishes";
import { say } from "../say";
import { download } from "../stage/TakeHome";
import { modelName } from "../state";
import { Icon } from "../ui/icons";
import { Problem } from "../ui/parts";
import { PieceRow } from "./PieceRow";

interface Props {
  pieces: Piece[];
  picked: Piece[];
  onPick: (piece: Piece) => void;
  onChange: (id: string, now: Piece | null) => void;
}

export function Request({ pieces, picked, onPick, onChange }: Props) {
  const problem = useSignal("");
  const first = pieces[0]!;
  const time = new Date(first.created * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
  });
  const compose = (sameSeed: boolean) => {
    problem.value = "";
    again(first, sameSeed).catch((error: unknown) => (problem.value = told(error)));
  };
  const takeAll = async () => {
    problem.value = "";
    try {
      await download(`/api/pieces.zip?${pieces.map((each) => `id=${each.id}`).join("&")}`, "pieces.zip");
      say("The pieces were saved.");
    } catch (error) {
      problem.value = told(error);
    }
  };
  return (
    <div class="request">
      <div class="request-top">
        <span class="hint">
          {[
            time,
            modelName(first.model_id),
            first.sample ? "sample of a training" : summary(first),
            `seed ${first.sidecar.seed}`,
          ]
            .filter(Boolean)
            .join(" · ")}
        </span>
        {!first.sample && (
          <span class="row" role="group" aria-label={`Compose again, as at ${time}`}>
            <button type="button" class="link" onClick={() => compose(true)}>
              <Icon name="again" />
              Again, same seed
            </button>
            <button type="button" class="link" onClick={() => compose(false)}>
              Again, new seed
            </button>
            {pieces.length > 1 && (
              <button type="button" class="link" onClick={() => void takeAll()}>
                <Icon name="download" />
                All {pieces.length} as zip
              </button>
            )}
          </span>
        )}
      </div>
      <Problem text={problem.value} />
      <ul>
        {pieces.map((each) => (
          <PieceRow
            key={each.id}
            piece={each}
            picked={picked.some((other) => other.id === each.id)}
            onPick={() => onPick(each)}
            onChange={(now) => onChange(each.id, now)}
          />
        ))}
      </ul>
    </div>
  );
}
