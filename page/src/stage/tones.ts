// Plain tones: the first sound while instruments still load, and all there is where they cannot be loaded.
import { FIRST_KIT } from "../score/score";
import type { Voices } from "./voices";

interface Tone {
  source: AudioScheduledSourceNode;
  gain: GainNode;
}

const LOUDEST = 0.22;

export class Tones implements Voices {
  private readonly sounding = new Map<string, Tone>();
  private readonly planned = new Set<Tone>();
  private readonly outputs = new Map<number, GainNode>();
  private noise: AudioBuffer | null = null;

  constructor(
    private readonly context: AudioContext,
    private readonly destination: AudioNode,
  ) {}

  async prepare(): Promise<void> {}

  noteOn(instrument: number, pitch: number, velocity: number, time: number): void {
    const gain = this.context.createGain();
    const peak = LOUDEST * (velocity / 127) ** 1.5;
    const drum = instrument >= FIRST_KIT;
    gain.gain.setValueAtTime(0, time);
    gain.gain.linearRampToValueAtTime(peak, time + 0.008);
    gain.gain.setTargetAtTime(drum ? 0 : peak * 0.35, time + 0.008, drum ? 0.05 : 0.4);
    const source = drum ? this.hiss() : this.tone(pitch);
    source.connect(gain).connect(this.output(instrument));
    source.start(time);
    const tone = { source, gain };
    this.planned.add(tone);
    source.onended = () => {
      this.planned.delete(tone);
      gain.disconnect();
    };
    if (drum) source.stop(time + 0.3);
    else this.sounding.set(`${instrument}:${pitch}`, tone);
  }

  noteOff(instrument: number, pitch: number, time: number): void {
    const key = `${instrument}:${pitch}`;
    const tone = this.sounding.get(key);
    if (!tone) return;
    this.sounding.delete(key);
    tone.gain.gain.setTargetAtTime(0, time, 0.04);
    tone.source.stop(time + 0.3);
  }

  audible(instrument: number, heard: boolean): void {
    this.output(instrument).gain.setTargetAtTime(heard ? 1 : 0, this.context.currentTime, 0.01);
  }

  silence(): void {
    const now = this.context.currentTime;
    for (const { source, gain } of this.planned) {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setTargetAtTime(0, now, 0.01);
      source.stop(now + 0.08);
    }
    this.sounding.clear();
  }

  private tone(pitch: number): OscillatorNode {
    const tone = this.context.createOscillator();
    tone.type = "triangle";
    tone.frequency.value = 440 * 2 ** ((pitch - 69) / 12);
    return tone;
  }

  private hiss(): AudioBufferSourceNode {
    if (!this.noise) {
      this.noise = this.context.createBuffer(1, this.context.sampleRate / 2, this.context.sampleRate);
      const samples = this.noise.getChannelData(0);
      for (let n = 0; n < samples.length; n++) samples[n] = Math.random() * 2 - 1;
    }
    const source = this.context.createBufferSource();
    source.buffer = this.noise;
    return source;
  }

  private output(instrument: number): GainNode {
    let output = this.outputs.get(instrument);
    if (!output) {
      output = this.context.createGain();
      output.connect(this.destination);
      this.outputs.set(instrument, output);
    }
    return output;
  }
}
