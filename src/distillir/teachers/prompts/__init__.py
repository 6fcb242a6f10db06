"""What teachers are told: a YAML file each, replaced by the path of another one."""

from distillir.teachers.prompts.prompt import Prompt, builtin_prompts, load_prompt, prompt_texts

__all__ = ["Prompt", "builtin_prompts", "load_prompt", "prompt_texts"]
