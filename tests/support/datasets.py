"""A user's own files with one defect each, by their path."""

DATA = {
    "column.csv": "txt,label\na,x\nb,y\n",
    "empty.csv": "text,label\na,x\n,y\n",
    "broken.jsonl": '{"text": "a", "label": "x"}\n{"text":\n',
    "new_label/train.csv": "text,label\na,x\nb,y\n",
    "new_label/test.csv": "text,label\na,z\n",
    "regression.csv": "text,label\na,0.5\nb,0.7\n",
    "multi.jsonl": '{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["y"]}\n',
}
