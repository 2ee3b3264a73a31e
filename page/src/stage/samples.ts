// Sampled instruments, with soundfonts cut to what a piece needs.
import { api } from "../api";
import { FIRST_KIT } from "../score/score";
import { Synth } from "./synth";
import type { Voices } from "./voices";

const VOLUME = 7;
const ALL_SOUND_OFF = 120;
const USUAL_VOLUME = 100;
const MAKE_UP = 4;
const DRUM_CHANNEL = 9;
const FIRST_CHANNELS = 16;

/**
 * What is sent to the synthesiser ahead of time cannot be called back. So every instrument has two channels, and
 * whoever falls silent goes on with the others, while what was planned runs out unheard.
 */
export class Samples implements Voices {
  private readonly channels = new Map<number, [number, number]>();
  private readonly loaded = new Set<number>();
  private readonly muted = new Set<number>();
  private loading: Promise<void> = Promise.resolve();
  private side: 0 | 1 = 0;
  private next = 0;
  private added = FIRST_CHANNELS;

  private constructor(private readonly synth: Synth) {}

  static async create(context: AudioContext, destination: AudioNode): Promise<Samples> {
    // The synthesiser leaves much room above a few soft notes; what is louder than there is room for is held.
    const louder = new GainNode(context, { gain: MAKE_UP });
    const limiter = new DynamicsCompressorNode(context, {
      threshold: -6,
      knee: 6,
      ratio: 16,
      attack: 0.002,
      release: 0.15,
    });
    louder.connect(limiter).connect(destination);
    return new Samples(await Synth.open(context, louder));
  }

  prepare(instruments: number[]): Promise<void> {
    const load = async () => {
      const missing = instruments.filter((each) => !this.loaded.has(each));
      if (!missing.length) return;
      const bank = await api.soundfont(missing);
      await this.synth.addBank(bank, `bank ${missing.join(" ")}`);
      for (const each of missing) this.open(each);
    };
    // One after the other: the synthesiser answers in no particular order.
    this.loading = this.loading.catch(() => undefined).then(load);
    return this.loading;
  }

  noteOn(instrument: number, pitch: number, velocity: number, time: number): void {
    const channels = this.channels.get(instrument);
    if (channels) this.synth.noteOn(channels[this.side], pitch, velocity, time);
  }

  noteOff(instrument: number, pitch: number, time: number): void {
    const channels = this.channels.get(instrument);
    if (channels) this.synth.noteOff(channels[this.side], pitch, time);
  }

  audible(instrument: number, heard: boolean): void {
    if (heard) this.muted.delete(instrument);
    else this.muted.add(instrument);
    this.setVolume(instrument);
  }

  silence(time: number): void {
    const left = this.side;
    this.side = left ? 0 : 1;
    for (const [instrument, channels] of this.channels) {
      const channel = channels[left];
      this.synth.controller(channel, VOLUME, 0);
      this.synth.controller(channel, ALL_SOUND_OFF, 0);
      this.synth.controller(channel, ALL_SOUND_OFF, 0, time);
      this.setVolume(instrument);
    }
  }

  private setVolume(instrument: number): void {
    const channels = this.channels.get(instrument);
    if (channels)
      this.synth.controller(channels[this.side], VOLUME, this.muted.has(instrument) ? 0 : USUAL_VOLUME);
  }

  /** Give an instrument its channels; presets are looked up anew, since a bank has come. */
  private open(instrument: number): void {
    this.loaded.add(instrument);
    const channels = this.channels.get(instrument) ?? ([this.channel(), this.channel()] as [number, number]);
    this.channels.set(instrument, channels);
    for (const channel of channels) {
      if (instrument >= FIRST_KIT) this.synth.setDrums(channel);
      this.synth.program(channel, instrument % FIRST_KIT);
    }
    this.setVolume(instrument);
  }

  private channel(): number {
    if (this.next % FIRST_CHANNELS === DRUM_CHANNEL) this.next++;
    while (this.next >= this.added) {
      this.synth.addChannel();
      this.added++;
    }
    return this.next++;
  }
}
