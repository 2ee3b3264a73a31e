import { expect, test } from "vitest";
import { duration, queued } from "../src/waiting";

test.each([
  [2, "a few seconds"],
  [33, "35 seconds"],
  [300, "5 minutes"],
  [3 * 3600, "3.0 hours"],
])("%d seconds are %s", (seconds, words) => expect(duration(seconds)).toBe(words));

test("the queue is told with the time it takes, where that is known", () => {
  expect(queued({ before: 0, wait: 0 })).toBe("");
  expect(queued({ before: 2, wait: null })).toBe("2 before this one");
  expect(queued({ before: 2, wait: 300 })).toBe("2 before this one, about 5 minutes");
});
