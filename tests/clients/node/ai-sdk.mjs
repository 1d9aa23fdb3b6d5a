// Vercel's AI SDK, with its two providers that speak this API: node ai-sdk.mjs URL
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import * as ai from 'ai'

const baseURL = `${process.argv[2]}/v1`
const generateImage = ai.generateImage ?? ai.experimental_generateImage
const openai = createOpenAI({ baseURL, apiKey: 'anything' })
const compatible = createOpenAICompatible({ name: 'darkroom', baseURL, apiKey: 'anything' })

// The second asks for no response_format at all, and fails unless it gets b64_json.
for (const model of [
  openai.image('gpt-image-1'), openai.image('dall-e-3'), openai.image('flux-schnell'),
  compatible.imageModel('gpt-image-1'),
]) {
  const { image } = await generateImage({ model, prompt: 'a cat', size: '1024x1024' })
  assert.equal(image.mediaType, 'image/png')
  assert.equal(Buffer.from(image.uint8Array).subarray(1, 4).toString(), 'PNG')
}

const { images } = await generateImage({ model: openai.image('dall-e-2'), prompt: 'a cat', n: 2 })
assert.equal(images.length, 2)

// An edit, whose answer must be base64: also of a name of the server's own, without response_format.
const prompt = { text: 'a cat', images: [images[0].uint8Array] }
const edited = await generateImage({ model: openai.image('flux-schnell'), prompt })
assert.equal(edited.image.mediaType, 'image/png')
