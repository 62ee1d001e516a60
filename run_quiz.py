"""手順4: 学習したモデルに quiz.json の全問を解かせ、result.log と result.json に書く。

    python run_quiz.py                                    # qlora-opencalm.yml のモデルとアダプタで quiz.json を解く
    python run_quiz.py --base                             # 学習前のモデルで解く → result-base.json
    python run_quiz.py --quiz quiz.json quiz-dev2.json -o result-all.json --max-questions 100
    accelerate launch --multi_gpu --num_processes 2 run_quiz.py    # 2 つの GPU (なければ CPU の 2 プロセス) で分担する

result.json の 1 件 (最後の要素だけは elapsed_time と実行条件):
    {"ID": 0, "qid": "...", "genre": "...", "instruction": "...", "input": "...", "prompt": "モデルに渡した文字列",
     "output": "2: クリオネ", "correct_answer": "2: クリオネ", "out_str": "2", "hit": true,
     "choice_probs": [0.01, 0.0, 0.98, 0.0, 0.01], "seconds": 0.05}
output はモデルの回答 (貪欲法。新しいトークンだけを文字に戻したもの)、out_str は読み取れた番号 (読めなければ "")、
choice_probs[k] はプロンプトの直後に番号 k が来る確率。
"""

import argparse
import copy
import hashlib
import itertools
import json
import logging
import os
import platform
import time
import warnings
from importlib import metadata
from pathlib import Path

import yaml

from convert_train import ANSWER, ANSWER_PATTERN, choices_of, fail, prompt_of, read_records, write_json, write_text

MAX_NEW_TOKENS = 32  # チュートリアルと同じ。番号は先頭の数トークンで決まる
TOKEN_BUDGET = {"cuda": 16384, "cpu": 2048}  # 1 回に計算するトークンの数 (問題数 × 長さ)


def read_config(path):
    """Axolotl の YAML を読んで dict を返す。"""
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        fail(f"{path} を読めません ({e.strerror})。--config で YAML の場所を指定してください。")
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        fail(f"{path}:{mark.line + 1 if mark else 1}: YAML として読めません。字下げと : の後の空白を確かめてください。")
    if not isinstance(config, dict) or not config.get("base_model") or not config.get("output_dir"):
        fail(f"{path}:1: base_model と output_dir がありません。元の qlora-opencalm.yml と比べてください。")
    return config


def quiet(base):
    """ライブラリの設定。利用状況の送信と、学生に関係のない警告を止める。base が手元のフォルダなら、ネットワークも使わせない。"""
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DISABLE_SAFETENSORS_CONVERSION": "1"}
    # Intel の CPU の行列積は、何もしないと、行の数によって足し算の順が変わる。
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    if Path(base).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("bitsandbytes", "torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="bitsandbytes")
    import huggingface_hub
    import transformers

    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def same_model(a, b):
    """2 つのモデル名が同じモデルを指すか。フォルダなら実体で比べる。"""
    return a == b or (Path(a).is_dir() and Path(b).is_dir() and Path(a).samefile(b))


def resolve_model(config, config_path, model, use_base):
    """(基のモデル, アダプタのフォルダまたは None) を返す。--model はアダプタのフォルダでもモデルでもよい。"""
    base = config["base_model"]
    if model and not (Path(model) / "adapter_config.json").exists():
        return model, None
    if use_base:
        return base, None
    adapter = model or config["output_dir"]
    settings, weights = Path(adapter) / "adapter_config.json", Path(adapter) / "adapter_model.safetensors"
    if not settings.exists() or not weights.exists():
        fail(f"{settings if not settings.exists() else weights} がありません。先に手順3の学習をしてください: "
             f"accelerate launch -m axolotl.cli.train {config_path} (学習前のモデルなら --base)。")
    trained_on = next(read_records(settings))[1].get("base_model_name_or_path") or ""
    if not same_model(base, trained_on):
        fail(f"{settings}: このアダプタは {trained_on} で学習したもので、{config_path} の base_model {base} には使えません。"
             "output_dir をモデルごとに変えて学習し直すか、base_model を合わせてください。")
    return base, adapter


def load_questions(paths, max_questions):
    """quiz.json を読み、モデルに渡すプロンプトを付けた問題のリストを返す。"""
    questions = []
    for path in paths:
        for line, record in read_records(path):
            where = f"{path}:{line}"
            for key in ("instruction", "output"):
                if not isinstance(record.get(key), str):
                    fail(f"{where}: {key} がありません。convert_eval.py で作り直してください。")
            try:
                prompt = prompt_of(record)
                choices = choices_of(prompt)
            except ValueError as e:
                fail(f"{where}: {e}。convert_eval.py で作り直してください。")
            answer = ANSWER_PATTERN.match(record["output"])
            if not answer or int(answer.group(1)) >= len(choices):
                fail(f"{where}: output {record['output']!r} が「番号: 選択肢」の形ではありません。convert_eval.py で作り直してください。")
            questions.append({
                "ID": len(questions), **{k: record[k] for k in ("qid", "genre") if k in record},
                "instruction": record["instruction"], "input": record.get("input", ""), "prompt": prompt,
                "correct_answer": record["output"], "choices": choices, "label": int(answer.group(1))})
            if len(questions) == max_questions:
                return questions
    if not questions:
        fail(f"{' '.join(map(str, paths))}: 問題が 1 問もありません。convert_eval.py で作り直してください。")
    return questions


def load_tokenizer(base, config):
    """学習と同じトークナイザを読む。YAML の tokenizer_type と trust_remote_code に従う。"""
    import transformers

    cls = getattr(transformers, config.get("tokenizer_type") or "AutoTokenizer")
    tokenizer = cls.from_pretrained(base, trust_remote_code=bool(config.get("trust_remote_code")))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def encode_prompts(tokenizer, base, prompts):
    """プロンプトをトークン列にする。モデルの tokenizer.json そのものの結果と違えば fail()。"""
    from tokenizers import Tokenizer
    from transformers.utils import cached_file

    raw, encoded = Tokenizer.from_file(cached_file(base, "tokenizer.json")), []
    for i in range(0, len(prompts), 1000):  # まとめて渡すと、途中の結果が問題の何十倍ものメモリを使う
        chunk = prompts[i:i + 1000]
        ours = tokenizer(chunk, add_special_tokens=False)["input_ids"]
        for prompt, ids, expected in zip(chunk, ours, raw.encode_batch_fast(chunk, add_special_tokens=False)):
            if ids != expected.ids:
                fail(f"{base} のトークン列が tokenizer.json と違います (問題: {prompt[:60]!r})。"
                     "YAML の tokenizer_type を PreTrainedTokenizerFast にして、学習からやり直してください。")
        encoded += tokenizer(chunk)["input_ids"]
    return encoded


def label_tokens(tokenizer, n):
    """番号 0..n-1 の (トークン列のリスト, 共通の先頭部分) を返す。

    SentencePiece では「2: ...」の先頭が「▁」「2」の 2 トークンになる。番号の手前までは、どの番号でも同じはずである。
    """
    sequences = []
    for label in map(str, range(n)):
        encoded = tokenizer(f"{label}:", add_special_tokens=False, return_offsets_mapping=True)
        sequences.append([i for i, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"]) if start < len(label)])
    tail = max((s[:-1] for s in sequences), key=len)
    if any(s[:-1] != tail[:len(s) - 1] for s in sequences) or len(set(map(tuple, sequences))) < n:
        fail(f"このトークナイザでは番号のトークン列 {sequences} を比べられません。別のモデルを使ってください。")
    return sequences, tail


def load_model(base, adapter, config, device="cpu"):
    """モデルを学習と同じ精度で device に読む。load_in_4bit なら nf4、GPU なら bf16 (なければ fp16)、CPU なら fp32。"""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    device = torch.device(device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    # Axolotl が学習のときに使う設定と同じ。
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                      bnb_4bit_compute_dtype=dtype) if config.get("load_in_4bit") else None
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, quantization_config=quantization, device_map={"": device},
        attn_implementation=config.get("attn_implementation") or "sdpa",
        trust_remote_code=bool(config.get("trust_remote_code")))
    if device.type == "cpu":
        # bitsandbytes は CPU の評価では bf16 で近似し、まとめ方で値が変わる。学習と同じ fp32 の計算をさせる。
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    return model.eval()


def pad(rows, value, width=0):
    """長さの違うリストの右を value で埋め、(len(rows), 最大の長さと width の大きい方) の LongTensor にする。"""
    import torch

    width = max(width, *map(len, rows))
    return torch.tensor([r + [value] * (width - len(r)) for r in rows])


class Solver:
    """モデルに問題を解かせる。questions の各要素は prompt_ids と choices を持つ dict。

    回答は貪欲法そのもの。学習したモデルの回答はほぼ「番号: 選択肢」なので、それを下書きとして 1 回の計算で確かめ
    (speculative decoding, Leviathan et al. 2023)、外れた所から先だけを 1 トークンずつ作る。
    全問に共通するプロンプトの先頭は、1 度だけ計算して使い回す。
    プロンプトは右を 16 の倍数まで埋める。どのトークンもいつも同じ列に来るので、CPU では足し算の順が変わらず、番号の確率は
    まとめ方によらず最後の桁まで同じになる (左を埋めると、列がまとめ方によって動く)。
    """

    def __init__(self, model, tokenizer, questions):
        self.model, self.tokenizer = model, tokenizer
        self.labels, self.tail = label_tokens(tokenizer, max(len(q["choices"]) for q in questions))
        prompts = [q["prompt_ids"] for q in questions]
        # どの問題にも 1 トークンは残す (次のトークンの確率は、共通部分ではなく各行から求める)。
        self.prefix = os.path.commonprefix([min(prompts), max(prompts)])[:min(map(len, prompts)) - 1]
        self.prefix_cache = None
        config = model.config.get_text_config()
        limit = min(getattr(config, name, None) or 10**9 for name in ("max_position_embeddings", "sliding_window"))
        longest = max(questions, key=self.width)
        if self.width(longest) + 2 * MAX_NEW_TOKENS > limit:  # 外れた下書きの列も数える
            fail(f"問題 {longest['prompt'][:60]!r} は {len(longest['prompt_ids'])} トークンで、回答と合わせると、"
                 f"モデルが一度に見る {limit} トークンに収まりません。この問題を除くか、別のモデルを使ってください。")

    def width(self, question):
        """question を計算するときの列の数。注意機構は 16 列 (AVX-512) ずつ足すので、その倍数にする。"""
        return -(-len(question["prompt_ids"] + self.tail) // 16) * 16

    def forward(self, fed, mask, cache, keep):
        """fed (B, T) を続けて計算し、keep の位置 (整数なら最後の keep 個) の logits (B, keep の数, V) と cache を返す。"""
        # 詰め物や外れた下書きは mask が 0 なので、位置は mask の和で数える。
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -fed.shape[1]:]
        out = self.model(input_ids=fed.to(mask.device), attention_mask=mask, position_ids=positions,
                         past_key_values=cache, use_cache=True, logits_to_keep=keep)
        return out.logits, out.past_key_values

    def start(self, questions):
        """プロンプトと番号の手前のトークンを計算し、logits (B, len(tail) + 1, V) と cache と mask を返す。"""
        import torch

        n, keep, device, cache = len(self.prefix), len(self.tail) + 1, self.model.device, None
        if n:
            if self.prefix_cache is None:
                fed = torch.tensor([self.prefix], device=device)
                self.prefix_cache = self.forward(fed, torch.ones_like(fed), None, 1)[1]
            cache = copy.deepcopy(self.prefix_cache)
            cache.batch_repeat_interleave(len(questions))
        rows, width = [q["prompt_ids"] + self.tail for q in questions], max(map(self.width, questions))
        mask = pad([[1] * len(r) for r in rows], 0, width).to(device)
        ends = torch.tensor([[len(r) - keep + j - n for j in range(keep)] for r in rows])
        columns, ends = ends.unique(return_inverse=True)  # 語彙の計算は、どれかの問題が要る列だけ
        logits, cache = self.forward(pad(rows, self.tokenizer.pad_token_id, width)[:, n:], mask, cache, columns.to(device))
        return logits[torch.arange(len(rows))[:, None], ends], cache, mask

    def finished(self, tokens):
        """回答の行が終わっていればその文字列を、まだなら None を返す。"""
        ended = self.tokenizer.eos_token_id in tokens or len(tokens) >= MAX_NEW_TOKENS
        text = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        line, newline, _ = text.lstrip().partition("\n")
        return line.strip() if ended or newline else None

    def answer(self, questions):
        """questions を 1 つのバッチで解き、(回答の文字列, 番号の確率のリスト) のリストを返す。"""
        import torch

        logits, cache, mask = self.start(questions)
        log_probs = logits.float().log_softmax(-1)
        probs = torch.stack([sum(log_probs[:, j, t] for j, t in enumerate(label)) for label in self.labels], dim=1).exp().tolist()
        probs = [p[:len(q["choices"])] for p, q in zip(probs, questions)]
        likely = [p.index(max(p)) for p in probs]
        texts = [ANSWER.format(label=k, choice=q["choices"][k]) for q, k in zip(questions, likely)]
        answers = [(ids + [self.tokenizer.eos_token_id])[:MAX_NEW_TOKENS]
                   for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

        texts, outs = [None] * len(questions), [[] for _ in questions]
        active, drafts, begins = list(range(len(questions))), [self.tail] * len(questions), [len(q["prompt_ids"]) for q in questions]
        while True:
            greedy, keep = logits.argmax(-1).tolist(), []  # greedy[row][j]: 下書きを j 個信じたときの次のトークン
            for row, i in enumerate(active):
                agreed = len(os.path.commonprefix([drafts[i], greedy[row]]))
                outs[i] += [*drafts[i][:agreed], greedy[row][agreed]]
                mask[row, begins[row] + agreed:] = 0
                texts[i] = self.finished(outs[i])
                if texts[i] is None:
                    keep.append(row)
            if not keep:
                return list(zip(texts, probs))
            if len(keep) < len(active):
                chosen = torch.tensor(keep, device=mask.device)
                cache.batch_select_indices(chosen)
                mask, active = mask[chosen], [active[row] for row in keep]
            for i in active:
                n = len(outs[i])
                drafts[i] = answers[i][n:-1] if answers[i][:n] == outs[i] else []
            fed = [[outs[i][-1], *drafts[i]] for i in active]
            begins = [mask.shape[1] + 1] * len(active)
            mask = torch.cat([mask, pad([[1] * len(f) for f in fed], 0).to(mask.device)], dim=1)
            logits, cache = self.forward(pad(fed, self.tokenizer.pad_token_id), mask, cache, max(map(len, fed)))


def make_batches(questions, width, budget, max_rows):
    """長さの近い問題どうしを、(問題数 × 最大の width(問題)) が budget を超えないバッチに分ける。長いものから先に解く。"""
    batches, widest = [], 0
    for q in sorted(questions, key=lambda q: (-len(q["prompt_ids"]), q["ID"])):
        # 行列積は 256 列ごとに足すので、それより長い問題は、列の数まで同じものとだけまとめる (Solver を参照)。
        if not batches or len(batches[-1]) >= min(max_rows, max(1, budget // widest)) or widest > 256 and widest != width(q):
            batches.append([])
            widest = width(q)
        batches[-1].append(q)
    return batches


def read_partial(path, run):
    """途中結果 (1 行目が実行条件、あとは 1 行に 1 問) を読み、(記録のリスト, 正しく書けた所までのバイト数) を返す。"""
    lines, size = [], 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if record is None:
            break  # 書いている途中で止まった行。なかったことにする
        lines.append(record)
        size += len(line)
    before = lines[0] if lines else run
    differences = [f"{k}: {before.get(k)} → {run[k]}" for k in run if before.get(k) != run[k]]
    if differences:
        fail(f"{path} は別の条件で途中まで解いた結果です ({', '.join(differences)})。"
             "前の続きなら同じ条件で、やり直すならこのファイルを消してから実行してください。")
    return lines[1:], size


def ask(solver, questions, path, run, state, batch_size=None, batch_tokens=None):
    """まだ答えていない問題を全プロセスで分けて解き、全問の記録を ID の順に返す。

    1 バッチごとに自分の途中結果 (path.part番号) へ書き足す。GPU のメモリが足りなければ 1 回の量を半分にする。
    """
    import torch
    from accelerate.utils import find_executable_batch_size, gather_object
    from tqdm import tqdm

    rank, world = state.process_index, state.num_processes
    parts = {part: read_partial(part, run) for part in sorted(path.parent.glob(f"{path.name}.part*"))}
    before = gather_object([r for records, _ in parts.values() for r in records])  # 別の計算機にある分も集める
    done = {r["ID"]: r for r in before}
    own = path.with_name(f"{path.name}.part{rank}")
    size = parts[own][1] if own in parts else 0
    state.wait_for_everyone()  # 全員が読み終えるまで、誰も書き足さない
    try:
        f = own.open("a", encoding="utf-8")
    except OSError as e:
        fail(f"{own} に書けません ({e.strerror})。-o で別の場所を指定してください。")
    f.truncate(size)
    if not size:
        f.write(json.dumps(run, ensure_ascii=False) + "\n")

    left, hits = {q["ID"] for q in questions} - done.keys(), sum(r["hit"] for r in done.values())
    budget = batch_tokens or TOKEN_BUDGET[solver.model.device.type]

    def halve():
        nonlocal budget
        budget //= 2
        return budget

    with f, tqdm(total=len(questions), initial=len(done), unit="問", mininterval=1, disable=not state.is_main_process) as bar:
        @find_executable_batch_size(starting_batch_size=budget, reduce_batch_size_fn=halve)
        def solve(budget):
            nonlocal hits
            batches = make_batches(questions, solver.width, budget, batch_size or len(questions))
            for batch in [b for b in batches if not left.isdisjoint(q["ID"] for q in b)][rank::world]:
                new = [q["ID"] not in done for q in batch]
                if not any(new):
                    continue  # メモリ不足でやり直す前に解けた
                start = time.perf_counter()
                with torch.inference_mode():
                    answers = solver.answer(batch)  # 解けた問題も入れて、まとめ方 (fp32 の丸め) を止めなかったときと同じにする
                seconds = (time.perf_counter() - start) / sum(new) / world
                for q, (text, probs) in itertools.compress(zip(batch, answers), new):
                    label = ANSWER_PATTERN.search(text)
                    done[q["ID"]] = {
                        "ID": q["ID"], "output": text, "out_str": label.group(1) if label else "",
                        "hit": bool(label) and int(label.group(1)) == q["label"],
                        "choice_probs": [float(f"{p:.6g}") for p in probs], "seconds": round(seconds, 6)}
                    hits += done[q["ID"]]["hit"]
                    f.write(json.dumps(done[q["ID"]], ensure_ascii=False) + "\n")
                f.flush()
                os.fsync(f.fileno())  # 電源が落ちても、答え終えた分は残る
                bar.set_postfix_str(f"正解率 {hits / len(done):.3f}", refresh=False)
                bar.update(min(sum(new) * world, bar.total - bar.n))

        try:
            solve()
        except RuntimeError as e:
            if "No executable batch size" not in str(e):
                raise
            fail("1 問ずつでもメモリが足りません。小さいモデルを使うか、YAML の load_in_4bit を true にしてください。")
    everyone = {r["ID"]: r for r in gather_object(list(done.values()))}
    return [everyone[q["ID"]] for q in questions]


def log_lines(records, run):
    """result.log の中身。実行条件、続いて 1 問ずつ、モデルの回答、正解、そこまでの正解率。"""
    yield json.dumps(run, ensure_ascii=False, indent=2) + "\n"
    hits = 0
    for n, r in enumerate(records, 1):
        hits += r["hit"]
        mark = "○" if r["hit"] else "×" if r["out_str"] else "× (番号を読み取れない)"
        yield (f"\n[{r['ID']}] {r['prompt'].strip()}\n{r['output']}\n正解: {r['correct_answer']}  {mark}  "
               f"ここまでの正解率: {hits / n:.3f} ({hits}/{n})\n")


def write_results(path, questions, answers, run):
    """result.log と result.json を書き、正解率を表示する。"""
    keys = ("ID", "qid", "genre", "instruction", "input", "prompt", "output", "correct_answer", "out_str", "hit",
            "choice_probs", "seconds")
    merged = ({**q, **a} for q, a in zip(questions, answers))
    records = [{k: r[k] for k in keys if k in r} for r in merged]
    write_text(log_lines(records, run), path.with_suffix(".log"))
    write_json([*records, run], path)
    hits, n = sum(a["hit"] for a in answers), len(answers)
    likely = sum(a["choice_probs"].index(max(a["choice_probs"])) == q["label"] for q, a in zip(questions, answers))
    print(f"{path}: 正解率 {hits / n:.3f} ({hits}/{n})  読み取れない回答 {sum(not a['out_str'] for a in answers)}  "
          f"番号の確率での正解率 {likely / n:.3f}  {run['elapsed_time']:.1f} 秒")


def sha256(data):
    return hashlib.sha256(data).hexdigest()[:16]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="qlora-opencalm.yml", help="手順3で使った YAML (既定: qlora-opencalm.yml)")
    parser.add_argument("--quiz", nargs="+", default=["quiz.json"], metavar="FILE", help="解く問題 (既定: quiz.json)")
    parser.add_argument("-o", "--output", help="結果のファイル (既定: result.json。--base なら result-base.json)")
    parser.add_argument("--model", help="YAML のモデルの代わりに使う、アダプタのフォルダ、モデルのフォルダまたは名前")
    parser.add_argument("--base", action="store_true", help="アダプタを付けず、学習前のモデルに解かせる")
    parser.add_argument("--batch-size", type=int, help="1 回に解く問題の数の上限 (既定: メモリに合わせて自動)")
    parser.add_argument("--batch-tokens", type=int, help=f"1 回に計算するトークンの数の上限 (既定: {TOKEN_BUDGET})")
    parser.add_argument("--max-questions", type=int, help="先頭からこの数だけ解く")
    args = parser.parse_args()
    for name in ("batch_size", "batch_tokens", "max_questions"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            fail(f"--{name.replace('_', '-')} は 1 以上にしてください。")

    config = read_config(args.config)
    base, adapter = resolve_model(config, args.config, args.model, args.base)
    questions = load_questions(args.quiz, args.max_questions)
    path = Path(args.output or ("result-base.json" if args.base else "result.json"))

    quiet(base)  # ライブラリの読み込みは数秒かかるので、入力の間違いを調べ終えてからにする
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    try:
        tokenizer = load_tokenizer(base, config)
        prompt_ids = encode_prompts(tokenizer, base, [q["prompt"] for q in questions])
        model = load_model(base, adapter, config, state.device)
    except (OSError, ValueError, RuntimeError) as e:
        fail(f"{base}{f' と {adapter}' if adapter else ''} を読み込めません ({e})。"
             "base_model と output_dir、ネットワークを確かめてください。")
    for q, ids in zip(questions, prompt_ids):
        q["prompt_ids"] = ids

    run = {"model": base, "adapter": adapter and str(adapter), "load_in_4bit": bool(config.get("load_in_4bit")),
           "dtype": str(model.dtype).removeprefix("torch."), "device": model.device.type, "quiz": list(map(str, args.quiz)),
           "adapter_sha256": adapter and sha256((Path(adapter) / "adapter_model.safetensors").read_bytes()),
           "quiz_sha256": sha256(json.dumps([(q["prompt"], q["correct_answer"]) for q in questions]).encode())}
    answers = ask(Solver(model, tokenizer, questions), questions, path, run, state, args.batch_size, args.batch_tokens)
    if state.is_main_process:
        versions = {name: metadata.version(name) for name in ("torch", "transformers", "peft", "bitsandbytes", "tokenizers")}
        hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {os.cpu_count()} cores"
        write_results(path, questions, answers, {
            "elapsed_time": round(sum(a["seconds"] for a in answers), 3), **run, "num_questions": len(questions),
            "hardware": hardware, "versions": {"python": platform.python_version(), **versions}})
    state.wait_for_everyone()  # 結果を書き終えるまで、途中結果は消さない
    for part in path.parent.glob(f"{path.name}.part*"):
        part.unlink(missing_ok=True)
    if state.num_processes > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("中断しました。同じコマンドをもう一度実行すると、続きから始まります。")
