"""Mean and standard deviation of the pixels that the two image towers were trained with, per channel (RGB), in 0..1."""

# openai/clip-vit-large-patch14, preprocessor_config.json.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# sam2.utils.transforms.SAM2Transforms, those of ImageNet.
SAM_MEAN = (0.485, 0.456, 0.406)
SAM_STD = (0.229, 0.224, 0.225)
