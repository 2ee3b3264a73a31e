// Composing: what is wished for on one side, the candidates on the other.
import { Candidates } from "./Candidates";
import { WishForm } from "./WishForm";

export function ComposeView() {
  return (
    <div class="compose">
      <WishForm />
      <Candidates />
    </div>
  );
}
