"""Names of models on the Hugging Face hub, and the catalogue's name for each; what is typed may be in any case.

A repository of several resolutions or sizes is the one that its pipeline makes by default. Those that end with
``-diffusers`` are the same weights in another layout, and are found without it.
"""

from __future__ import annotations

HUB = {
    "amused/amused-256": "amused-256",
    "amused/amused-512": "amused-512",
    "guoyww/animatediff-motion-adapter-v1-5-2": "animatediff-sd15",
    "thudm/cogvideox-2b": "cogvideox-2b",
    "zai-org/cogvideox-2b": "cogvideox-2b",
    "thudm/cogvideox-5b": "cogvideox-5b",
    "zai-org/cogvideox-5b": "cogvideox-5b",
    "thudm/cogvideox1.5-5b": "cogvideox1.5-5b",
    "zai-org/cogvideox1.5-5b": "cogvideox1.5-5b",
    "deepfloyd/if-i-xl-v1.0": "deepfloyd-if",
    "facebook/dit-xl-2-256": "dit-xl-2",
    "black-forest-labs/flux.1-dev": "flux.1-dev",
    "black-forest-labs/flux.1-schnell": "flux.1-schnell",
    "black-forest-labs/flux.2-dev": "flux.2-dev",
    "black-forest-labs/flux.2-klein-4b": "flux.2-klein-4b",
    "black-forest-labs/flux.2-klein-9b": "flux.2-klein-9b",
    "tencent/hunyuanvideo": "hunyuanvideo",
    "hunyuanvideo-community/hunyuanvideo": "hunyuanvideo",
    "tencent/hunyuanvideo-1.5": "hunyuanvideo-1.5",
    "meta-llama/llama-2-7b-hf": "llama2-7b",
    "meta-llama/llama-2-13b-hf": "llama2-13b",
    "meta-llama/llama-2-70b-hf": "llama2-70b",
    "meta-llama/llama-3.1-8b": "llama3.1-8b",
    "meta-llama/llama-3.1-8b-instruct": "llama3.1-8b",
    "meta-llama/llama-3.1-70b": "llama3.1-70b",
    "meta-llama/llama-3.1-70b-instruct": "llama3.1-70b",
    "meta-llama/llama-3.1-405b": "llama3.1-405b",
    "meta-llama/llama-3.1-405b-instruct": "llama3.1-405b",
    "meta-llama/llama-3.2-11b-vision": "llama3.2-11b-vision",
    "meta-llama/llama-3.2-11b-vision-instruct": "llama3.2-11b-vision",
    "meta-llama/llama-3.2-90b-vision": "llama3.2-90b-vision",
    "meta-llama/llama-3.2-90b-vision-instruct": "llama3.2-90b-vision",
    "llava-hf/llava-1.5-7b-hf": "llava-1.5-7b",
    "efficient-large-model/longlive-1.3b": "longlive-1.3b",
    "lightricks/ltx-video": "ltx-video-2b",
    "lightricks/ltx-video-0.9.7-dev": "ltx-video-13b",
    "genmo/mochi-1-preview": "mochi-1",
    "ali-vilab/text-to-video-ms-1.7b": "modelscope-t2v-1.7b",
    "damo-vilab/text-to-video-ms-1.7b": "modelscope-t2v-1.7b",
    "pixart-alpha/pixart-xl-2-1024-ms": "pixart-alpha-1024",
    "pixart-alpha/pixart-xl-2-512x512": "pixart-alpha-512",
    "pixart-alpha/pixart-sigma-xl-2-1024-ms": "pixart-sigma-1024",
    "qwen/qwen-image": "qwen-image",
    "efficient-large-model/sana_600m_1024px": "sana-0.6b",
    "efficient-large-model/sana_1600m_1024px": "sana-1.6b",
    "stabilityai/stable-diffusion-3-medium": "sd3-medium",
    "stabilityai/stable-diffusion-3.5-large": "sd3.5-large",
    "stabilityai/stable-diffusion-3.5-medium": "sd3.5-medium",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl-base",
    "stabilityai/stable-diffusion-xl-refiner-1.0": "sdxl-refiner",
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-1.5",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "stable-diffusion-1.5",
    "stabilityai/stable-diffusion-2-1": "stable-diffusion-2.1",
    "stabilityai/stable-video-diffusion-img2vid-xt": "svd-xt",
    "wan-ai/wan2.1-t2v-1.3b": "wan2.1-t2v-1.3b",
    "wan-ai/wan2.1-t2v-14b": "wan2.1-t2v-14b",
    "wan-ai/wan2.1-i2v-14b-480p": "wan2.1-i2v-14b-480p",
    "wan-ai/wan2.1-i2v-14b-720p": "wan2.1-i2v-14b-720p",
    "wan-ai/wan2.2-t2v-a14b": "wan2.2-t2v-a14b",
    "wan-ai/wan2.2-i2v-a14b": "wan2.2-i2v-a14b",
    "wan-ai/wan2.2-ti2v-5b": "wan2.2-ti2v-5b",
}


def from_hub(text: str) -> str | None:
    """The catalogue's name of a repository of the hub (``OWNER/NAME``, or its page); None for one that is not known."""
    key = text.strip().lower().removeprefix("https://").removeprefix("huggingface.co/").rstrip("/")
    for end in ("", "-diffusers", "_diffusers", "-hf"):
        if key.endswith(end) and (found := HUB.get(key.removesuffix(end) if end else key)):
            return found
    return None


def near(text: str) -> list[str]:
    """Names on the hub that are close to `text`, best first, at most three."""
    import difflib  # only for a name that is wrong

    return difflib.get_close_matches(text.strip().lower(), HUB, n=3)
