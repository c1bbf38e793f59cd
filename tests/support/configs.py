"""Small configurations of each model type, and the methods with parameters that change what training keeps."""

SMALL = {
    "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40,
}  # fmt: skip
TYPES = {
    "bert": {"model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2},
    "roberta": {"model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1},
    "electra": {"model_type": "electra", "max_position_embeddings": 512, "type_vocab_size": 2, "embedding_size": 24},
}
METHODS = [
    ("full", {}),
    ("head", {}),
    ("adapter", {"reduction_factor": 4}),
    ("pfeiffer", {"reduction_factor": 4}),
    ("lora", {"r": 3}),
    ("lora", {"r": 3, "lora_dropout": 0.1}),
    ("lora", {"r": 5, "target_modules": "value"}),
    ("lora", {"r": 5, "target_modules": "query,key,value,dense", "lora_dropout": 0.2}),
    ("lora", {"r": 5, "target_modules": "output.dense"}),
    ("lora", {"r": 3, "target_modules": "all-linear"}),
    ("rslora", {"r": 3}),
    ("pissa", {"r": 3}),
    ("lora_plus", {"r": 3}),
]


def config_of(kind, shape, hidden=0.1, attention=0.1):
    return {**TYPES[kind], **shape, "hidden_dropout_prob": hidden, "attention_probs_dropout_prob": attention}
