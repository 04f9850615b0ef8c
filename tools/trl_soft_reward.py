#!/usr/bin/env python3
"""trl_soft_reward.py - TRL's RewardTrainer with soft labels: `label_prob` stays soft on the way to a GPU cluster.

    accelerate launch tools/trl_soft_reward.py --model_name_or_path MODEL --dataset_name labels/pairs.jsonl \\
        --output_dir reward --learning_rate 1e-5 --bf16

The rows are those of `rlaif label` and `rlaif convert`: prompt, chosen, rejected, label_prob (absent: 1), as strings or
messages.  TRL reads the first three and takes every label for certain; here the loss of a pair is
-p log sigmoid(d) - (1 - p) log sigmoid(-d), d being the difference of the scores, as in `rlaif reward`.  Texts become
tokens as there, too: prompt and answer apart, then joined, closed by the end token.  `make parity` compares both."""
import torch
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.trainer_utils import set_seed
from trl import ModelConfig, RewardConfig, RewardTrainer, ScriptArguments, TrlParser, get_peft_config
from trl.trainer.reward_trainer import DataCollatorForPreference


class SoftCollator(DataCollatorForPreference):
    def torch_call(self, examples):
        batch = super().torch_call(examples)
        batch["label_prob"] = torch.tensor([e["label_prob"] for e in examples], dtype=torch.float)
        return batch


class SoftRewardTrainer(RewardTrainer):
    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if "label_prob" not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, "label_prob"]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        p = inputs.pop("label_prob")
        # TRL's own loss is kept for its metrics; it takes every label for certain.
        _, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        chosen, rejected = torch.chunk(outputs.logits.squeeze(-1).float(), chunks=2)
        d = chosen - rejected
        log_sigmoid = torch.nn.functional.logsigmoid
        loss = -(p * log_sigmoid(d) + (1 - p) * log_sigmoid(-d)).mean()
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * ((chosen + rejected) ** 2).mean()
        return (loss, outputs) if return_outputs else loss


def encode(tokenizer, prompt, answer):
    """Token ids of an answer behind its prompt."""
    if isinstance(prompt, str):
        ids = tokenizer(prompt)["input_ids"] + tokenizer(answer, add_special_tokens=False)["input_ids"]
    else:
        head = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        rest = tokenizer.apply_chat_template(prompt + answer, tokenize=False)[len(head):].rstrip("\n")
        ids = [i for text in (head, rest) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    return ids if ids[-1] == tokenizer.eos_token_id else ids + [tokenizer.eos_token_id]


def read(path, split, tokenizer, max_length):
    """Rows as TRL wants them when they are tokenised, label_prob beside them."""
    data = load_dataset("json", data_files=path, split="train") if path.endswith((".jsonl", ".json")) else load_dataset(path, split=split)
    columns = data.column_names
    data = data.map(lambda row: {"chosen_ids": encode(tokenizer, row["prompt"], row["chosen"]),
                                 "rejected_ids": encode(tokenizer, row["prompt"], row["rejected"]),
                                 "label_prob": 1.0 if row.get("label_prob") is None else row["label_prob"]},
                    remove_columns=[c for c in columns if c != "label_prob"])
    return data.filter(lambda row: not max_length or max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= max_length)


def main():
    script, args, model_args = TrlParser((ScriptArguments, RewardConfig, ModelConfig)).parse_args_and_config()
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForSequenceClassification.from_pretrained(
        model_args.model_name_or_path, num_labels=1, dtype=torch.bfloat16 if model_args.dtype == "bfloat16" else torch.float32)
    # transformers scores the last token that is not padding: an end token that pads as well would not be scored.
    pad = model.config.pad_token_id
    if pad is None or pad == tokenizer.eos_token_id:
        pad = tokenizer.unk_token_id if tokenizer.unk_token_id not in (None, tokenizer.eos_token_id) else 0
    args.pad_token = tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    model.config.pad_token_id = pad

    data = read(script.dataset_name, script.dataset_train_split, tokenizer, args.max_length)
    trainer = SoftRewardTrainer(model=model, args=args, processing_class=tokenizer, peft_config=get_peft_config(model_args),
                                train_dataset=data, eval_dataset=data if args.eval_strategy != "no" else None,
                                data_collator=SoftCollator(pad_token_id=pad))
    trainer.train()
    trainer.save_state()
    trainer.save_model(args.output_dir)


if __name__ == "__main__":
    main()
