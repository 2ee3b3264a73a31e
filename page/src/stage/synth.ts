// Speaks to SpessaSynth in its audio worklet. Its library for the page would double what has to be loaded for sound, with
// readers and writers of soundfonts and MIDI files that this page has no use for; these messages are all that it needs,
// and they belong to the exact version that package.json names.
import processor from "spessasynth_lib/dist/spessasynth_processor.min.js?url";

const NAME = "spessasynth-worklet-processor";
const OUTPUTS = 17;
const GROUP = 16;
const [NOTE_OFF, NOTE_ON, CONTROLLER, PROGRAM] = [0x80, 0x90, 0xb0, 0xc0];
const PATIENCE_MS = 20_000;

interface Answer {
  type: string;
  data: { type: string; data?: unknown };
}

export class Synth {
  private answers = new Map<string, { done: () => void; failed: (error: Error) => void }>();

  private constructor(private readonly worklet: AudioWorkletNode) {
    worklet.port.onmessage = ({ data }: MessageEvent<Answer>) => this.answered(data);
  }

  static async open(context: AudioContext, destination: AudioNode): Promise<Synth> {
    await context.audioWorklet.addModule(processor);
    const worklet = new AudioWorkletNode(context, NAME, {
      numberOfOutputs: OUTPUTS,
      outputChannelCount: Array<number>(OUTPUTS).fill(2),
      processorOptions: { oneOutput: false, eventsEnabled: false },
    });
    for (let output = 0; output < OUTPUTS; output++) worklet.connect(destination, output);
    const synth = new Synth(worklet);
    await synth.answer("sf3Decoder");
    return synth;
  }

  /** Add the instruments of a soundfont; what earlier ones have stays. */
  async addBank(soundBankBuffer: ArrayBuffer, id: string): Promise<void> {
    const done = this.answer("soundBankManager");
    const data = { type: "addSoundBank", data: { soundBankBuffer, id, bankOffset: 0 } };
    this.post("soundBankManager", data, -1, [soundBankBuffer]);
    await done;
  }

  addChannel(): void {
    this.post("addNewChannel", null, 0);
  }

  setDrums(channel: number): void {
    this.post("setDrums", true, channel);
  }

  program(channel: number, program: number): void {
    this.send(channel, [PROGRAM, program]);
  }

  controller(channel: number, number: number, value: number, time?: number): void {
    this.send(channel, [CONTROLLER, number, value], time);
  }

  noteOn(channel: number, pitch: number, velocity: number, time: number): void {
    this.send(channel, [NOTE_ON, pitch, velocity], time);
  }

  noteOff(channel: number, pitch: number, time: number): void {
    this.send(channel, [NOTE_OFF, pitch, 0], time);
  }

  private send(channel: number, [status, ...rest]: [number, ...number[]], time = 0): void {
    const place = channel % GROUP;
    const data = {
      messageData: new Uint8Array([status | place, ...rest]),
      channelOffset: channel - place,
      options: { time },
    };
    this.post("midiMessage", data, -1);
  }

  private post(type: string, data: unknown, channelNumber: number, transfer: Transferable[] = []): void {
    this.worklet.port.postMessage({ type, data, channelNumber }, transfer);
  }

  private answer(type: string): Promise<void> {
    return new Promise((done, failed) => {
      this.answers.set(type, { done, failed });
      window.setTimeout(() => failed(new Error("The synthesiser does not answer.")), PATIENCE_MS);
    });
  }

  private answered({ type, data }: Answer): void {
    if (type === "isFullyInitialized") this.answers.get(data.type)?.done();
    if (type === "soundBankError")
      this.answers.get("soundBankManager")?.failed(new Error("The soundfont could not be read."));
  }
}
