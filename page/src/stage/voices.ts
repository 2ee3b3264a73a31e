// What the player plays on: the sampled instruments, or plain tones where these cannot be had.

export interface Voices {
  /** Make sure that these instruments can be played. */
  prepare(instruments: number[]): Promise<void>;
  noteOn(instrument: number, pitch: number, velocity: number, time: number): void;
  noteOff(instrument: number, pitch: number, time: number): void;
  /** Let an instrument be heard or not, now. */
  audible(instrument: number, heard: boolean): void;
  /** End all that sounds, and all that was planned until `time`. */
  silence(time: number): void;
}
