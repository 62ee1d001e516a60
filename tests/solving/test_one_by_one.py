"""解き方の定義: transformers の generate、lm-evaluation-harness と同じ。"""

import math

import pytest
import torch
from conftest import CONFIG, DEMO, FAST, quiz_of, read
from solving_helpers import load_solver, model_that_answers

from quiz.adapter import read_config
from quiz.model import load_model, load_tokenizer
from quiz.solving.one_by_one import MAX_NEW_TOKENS, Labels, first_line, generate, is_complete


def test_greedy_is_what_generate_gives(demo, monkeypatch):
    """回答は、transformers の generate を 1 問ずつ貪欲法で動かしたものと同じ。確率も同じ。"""
    monkeypatch.chdir(demo)
    config = read_config(CONFIG)
    tokenizer = load_tokenizer("./data/demo/model", config)
    greedy = {"do_sample": False, "eos_token_id": 0, "pad_token_id": 1}
    for adapter, result in (("demo-qlora-out", "result.json"), (None, "result-base.json")):
        model = load_model("./data/demo/model", adapter, config, "cpu")
        for r in read(result)[:15]:
            ids = tokenizer(r["prompt"], return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(**ids, max_new_tokens=MAX_NEW_TOKENS, **greedy)
                probs = model(**ids).logits[0, -1].float().softmax(-1)
            text = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
            assert r["output"] == text.lstrip().partition("\n")[0].strip()
            expected = [probs[tokenizer(str(k))["input_ids"][0]].item() for k in range(5)]
            assert r["choice_probs"] == pytest.approx(expected, abs=1e-4)


def check_against_harness(work, config_name, base, adapter):
    """番号の確率の対数が、lm-evaluation-harness の対数尤度と選択肢ごとに一致することを確かめる。"""
    from lm_eval.models.huggingface import HFLM

    questions = quiz_of(work / "quiz.json", 12)
    solver = load_solver(base, adapter, read_config(work / config_name), questions)
    ours = [math.log(p) for _, probs, _ in solver.answer(range(12)) for p in probs]
    lm = HFLM(pretrained=solver.model, tokenizer=solver.tokenizer, batch_size=4)
    requests = []
    for i, q in enumerate(questions):
        for k in range(5):
            requests.append(((q.prompt, str(k)), solver.prompts[i], solver.labels.tokens[k]))
    theirs = [score for score, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)]
    assert ours == pytest.approx(theirs, abs=2e-3)
    return solver


def test_likelihood_agrees_with_lm_eval(demo):
    """byte-level のトークナイザ (番号は 1 トークン) で、番号の確率が一致する。"""
    solver = check_against_harness(demo, CONFIG, DEMO / "model", demo / "demo-qlora-out")
    assert {len(s) for s in solver.labels.tokens} == {1}
    assert not solver.labels.lead and len(solver.fast.prefix) > 10


def test_likelihood_agrees_with_lm_eval_llama(llama, llama_run):
    """SentencePiece 風 (▁ と番号) のトークナイザでも一致する。"""
    adapter = llama_run / "llama-qlora-out"
    solver = check_against_harness(llama_run, "qlora-opencalm.yml", llama, adapter)
    assert {len(s) for s in solver.labels.tokens} == {2} and len(solver.labels.lead) == 1


@torch.inference_mode()
def test_stops_where_the_first_line_ends():
    """1 行目の改行で止まる。まとめた行は、それぞれの所で止まり、回答は 32 トークン作るのと同じ。"""
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    (newline,) = tokenizer("\n")["input_ids"]
    line = tokenizer("2: クリオネ")["input_ids"]
    model = model_that_answers(tokenizer, "2: クリオネ", newline)
    # 2 つ目の行は、答えの途中から
    ids = torch.tensor([[100, newline], [newline, line[0]]])
    mask = torch.ones_like(ids)
    tokens = generate(model, tokenizer, ids, mask)
    assert tokens.tolist() == [[*line, newline], [*line[1:], newline, tokenizer.pad_token_id]]
    whole = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=32)[:, 2:]
    assert whole.shape[1] == 32
    for ours, theirs in zip(tokens, whole):
        assert first_line(tokenizer, ours) == first_line(tokenizer, theirs)


@pytest.mark.parametrize("name", ["demo", "llama"])
def test_newline_before_the_line_does_not_stop(name, llama):
    """行の前の改行や空白では止まらず、行の終わりの改行で、初めて止まる。"""
    tokenizer = load_tokenizer(DEMO / "model" if name == "demo" else llama, FAST)
    tokens = tokenizer("\n \n2: クリオネ\n", add_special_tokens=False)["input_ids"]
    ended = [is_complete(tokenizer, tokens[:n]) for n in range(1, len(tokens) + 1)]
    assert ended == [False] * (len(tokens) - 1) + [True]


class OddTokenizer:
    """番号のトークン列を、そのまま渡されたものにするトークナイザ。"""

    def __init__(self, *tokens):
        self.tokens = tokens

    def __call__(self, text, **options):
        tokens = self.tokens[int(text[0])]
        return {"input_ids": tokens, "offset_mapping": [(0, 1)] * len(tokens)}


@pytest.mark.parametrize("tokens", [([5], [5]), ([1, 5], [2, 6])])
def test_labels_that_cannot_be_compared(tokens):
    """2 つの番号が同じトークンか、手前のトークンがそろわなければ、そう言って終わる。"""
    with pytest.raises(SystemExit, match="番号のトークン列"):
        Labels(OddTokenizer(*tokens), 2)
    assert Labels(OddTokenizer([1, 5], [1, 6]), 2).lead == [1]
