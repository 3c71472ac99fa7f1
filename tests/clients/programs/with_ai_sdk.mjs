// Vercel's AI SDK, with the provider for gateways or with OpenAI's own in either of its APIs. Asked in lines as the Python programs are: see
// parts.py.
import { createInterface } from 'node:readline'

import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, isStepCount, Output, streamText, tool } from 'ai'
import { z } from 'zod'

const { BASE_URL, MODEL } = process.env
let key = ''
const told = () => ({ name: 'gateway', baseURL: BASE_URL, apiKey: key })
const providers = {
  compatible: () => createOpenAICompatible({ ...told(), includeUsage: true, supportsStructuredOutputs: true })(MODEL),
  openai: () => createOpenAI(told()).chat(MODEL),
  responses: () => createOpenAI(told())(MODEL),
}
const Person = z.object({ name: z.string(), age: z.number().int() })
const get_weather = tool({
  description: 'The weather in a city.',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `20 degrees in ${city}`,
})

const tokens = (usage) => [usage.inputTokens, usage.outputTokens]

function request({ provider, prompt }, more = {}) {
  return { model: providers[provider](), prompt, maxRetries: 0, ...more }
}

// A stream does not throw: what went wrong is handed to onError.
function streamed(asked, more = {}) {
  const failures = []
  const result = streamText(request(asked, { ...more, onError: ({ error }) => failures.push(error) }))
  return { result, failures }
}

async function collect(iterable) {
  const all = []
  for await (const one of iterable) all.push(one)
  return all
}

function loop(steps, text) {
  const calls = steps[0].toolCalls.map((call) => ({ name: call.toolName, arguments: call.input }))
  return { words: steps[0].text, calls, text }
}

const withTools = { tools: { get_weather }, stopWhen: isStepCount(3) }

const parts = {
  async chat(asked) {
    const whole = await generateText(request(asked))
    return { text: whole.text, tokens: tokens(whole.usage), reason: whole.finishReason }
  },
  async stream(asked) {
    const { result, failures } = streamed(asked)
    const pieces = await collect(result.textStream)
    if (failures.length) throw failures[0]
    return { pieces, tokens: tokens(await result.usage), reason: await result.finishReason }
  },
  async reasoning(asked) {
    const whole = await generateText(request(asked))
    const { result } = streamed(asked)
    await collect(result.textStream)
    return { reasoning: whole.reasoningText, streamed: await result.reasoningText }
  },
  // This provider shows what a model thinks only where it knows that the model does, and is told to ask for it.
  async summed_up(asked) {
    const openai = { reasoningSummary: 'auto', forceReasoning: true }
    const whole = await generateText(request(asked, { providerOptions: { openai } }))
    const { result } = streamed(asked, { providerOptions: { openai } })
    await collect(result.textStream)
    return { reasoning: whole.reasoningText, streamed: await result.reasoningText }
  },
  async tools(asked) {
    const whole = await generateText(request(asked, withTools))
    return loop(whole.steps, whole.text)
  },
  async tools_streamed(asked) {
    const { result, failures } = streamed(asked, withTools)
    await collect(result.textStream)
    if (failures.length) throw failures[0]
    return loop(await result.steps, await result.text)
  },
  async structured(asked) {
    return (await generateText(request(asked, { output: Output.object({ schema: Person }) }))).output
  },
  async image({ provider, prompt, picture }) {
    const image = Buffer.from(picture.split(',')[1], 'base64')
    const content = [{ type: 'text', text: prompt }, { type: 'image', image }]
    const whole = await generateText(request({ provider }, { messages: [{ role: 'user', content }] }))
    return { text: whole.text }
  },
  async refused(asked) {
    const error = await generateText(request(asked)).then(() => null, (error) => error)
    return { kind: error.name, text: error.message, status: error.statusCode }
  },
}

for await (const line of createInterface(process.stdin)) {
  const asked = JSON.parse(line)
  key = asked.key
  const answered = await parts[asked.part](asked.inputs).then(
    (answer) => ({ answer }),
    (error) => ({ failed: String(error.stack) }),
  )
  process.stdout.write(JSON.stringify(answered) + '\n')
}
