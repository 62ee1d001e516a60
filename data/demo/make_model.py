"""デモ用の小さな日本語の基盤モデル (GPT-NeoX) を、事実の表から作った文章だけでゼロから事前学習する。

表 (facts/*.tsv と *.toml) の事実を、平叙文、一問一答、穴埋め、記号で答える試験などの文章にして学習する。
チュートリアルの書式 (「以下の問題について、…」「### 回答:」) とクイズの問題文 (toml の questions) は、
事前学習の文章に一度も出てこない。この二つを読むのは、語彙 (トークナイザ) を作るときだけである。
学習は四段階で、前の段階の正答率が基準に達してから次へ進む。
  1. 一覧から記号を引く練習だけ (2 項目から 5 項目へ)
  2. いろいろな書式の一覧と、事実の文章
  3. 選択肢つきの試験 (答えを書いてから記号を書く)
  4. 記号だけで答える試験も加える。終わり近くでは nf4 量子化の丸めに慣らす
"""
import argparse
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

if __name__ == "__main__" and sys.platform == "linux" and "MALLOC_TOP_PAD_" not in os.environ:
    # 作業領域をそのつど OS に返さないようにして起動し直す (CPU での学習が速くなる)
    os.environ.update(MALLOC_MMAP_THRESHOLD_="4000000000", MALLOC_TRIM_THRESHOLD_="8000000000", MALLOC_TOP_PAD_="500000000")
    os.execv(sys.executable, [sys.executable, *sys.argv])

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from make_questions import read_facts  # noqa: E402
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM  # noqa: E402

from quiz.files import fail, reason  # noqa: E402

EOS, PAD = "<|endoftext|>", "<|padding|>"  # 番号は 0 と 1
SCRIPTS = r"\n|[一-龠々〆ヶ〇]+|[ァ-ヺー・]+|[ぁ-ゖー]+|[A-Za-z]+|\d|\s|."  # 文字種の変わり目で必ず切る
PROMPT_WORDS = "以下の問題について、選択肢から選んで答えてください。問題: 選択肢 ### 回答:"  # 語彙を作るときだけ使う
WIDTH, LAYERS, HEADS, ROTARY = 128, 6, 4, 0.25
EARLY = LAYERS // 2  # この層までに答えを思い出させる
HIDDEN_KINDS = ("aux", "slot")  # 問いの直後 (aux) と記号の直前 (slot) で答えを予測させるだけで、文章には書かない
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]  # bitsandbytes の nf4 の 16 個の値
LABELS, LABEL_WEIGHTS = ["0123456789", "123456789", "アイウエオカキク", "ABCDEFGH"], [60, 14, 13, 13]
FRAMES = [("", ": "), ("", ". "), ("(", ") "), ("", ") "), ("[", "] "), ("", "番 "), ("", "、"), ("", " "), ("<", "> "), ("", "=")]
JOINS = ["\n", "\n", " / ", "  ", "; "]
LOOKUPS = ["{a} ", "{a}は", "{a}→", "{a}の記号は", "{a} = "]
OWN = ["{k}の{n}は?", "{n}({k})", "{k}:{n}", "{n}を選べ。{k}", "次の{n}にあたるもの。{k}", "{k}、{n}", "{k}、その{n}。"]
OWN_HINT = ["{h}{k}、{n}は?", "{n}({h}{k})", "{h}{k}。{n}を選べ。", "{k}。{h}。{n}?"]
HEADS_TEXT = ["", "", "問 ", "第1問 ", "試験\n", "Q. ", "小テスト。次に答えよ。\n", "記号で選びなさい。\n", "確認: "]


def load_facts(folder, without_dev):
    """表を読み、(関係の辞書, 事前学習に使う事実の列, すべての事実の列) を返す。without_dev なら評価用の事実は使わない。"""
    relations, used, everything = {}, [], []
    for f in read_facts(folder):
        fact = f["relation"], f["key"], f["answer"], f["hint"]
        relations.setdefault(fact[0], dict(f["wording"], answers=list(f["candidates"])))
        everything.append(fact)
        if f["split"] == "train" or not without_dev:
            used.append(fact)
    return relations, used, everything


def make_tokenizer(relations, everything, vocab_size):
    """open-calm と同じ特徴 (byte-level BPE, NFKC) を持つトークナイザを作る。答えはほぼ必ず 1 トークンになる。"""
    words = []
    for _, key, answer, hint in everything:
        words += [answer] * 40 + [key] * 20 + [hint] * 2
    for rel in relations.values():
        words += [rel["noun"]] * 40 + (rel["statements"] + rel["questions"]) * 6 + rel["distractors"] * 40
    words += ([PROMPT_WORDS] + LOOKUPS + OWN + OWN_HINT + HEADS_TEXT) * 20 + [c for s in LABELS for c in s]
    tok = Tokenizer(models.BPE(unk_token=None))
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SCRIPTS), "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tok


class Writer:
    """事前学習の文章を作る。文章は (文字列, 種類) の列で、損失は種類のある部分だけにかける。"""

    def __init__(self, relations, facts, seed):
        self.rng, self.rel, self.facts, self.by_rel = random.Random(seed), relations, facts, {}
        for fact in facts:
            self.by_rel.setdefault(fact[0], []).append(fact)
        self.answers = sorted({a for r in relations.values() for a in r["answers"]})

    def style(self, n, exam, simple=False):
        """一覧の書き方 (記号 n 個, 記号の前後, つなぎ) を選ぶ。「0: 」の形は試験には使わない。"""
        r = self.rng
        if simple:
            return LABELS[0][:n], ("", ": "), "\n"
        s = r.choices(LABELS, LABEL_WEIGHTS)[0][:n]
        return s, r.choice([f for f in FRAMES if not (exam and s[0].isdigit() and ":" in f[1])]), r.choice(JOINS)

    def listing(self, items, style):
        labels, (before, after), join = style
        return join.join(before + c + after + item for c, item in zip(labels, items))

    def lookup(self, stage, n):
        """でたらめな一覧のあとに、項目から記号を引く。"""
        r = self.rng
        pool = self.answers if stage == 1 or r.random() < 0.5 else self.rel[r.choice(list(self.rel))]["answers"]
        simple = stage == 1 or r.random() < 0.35
        items, style = r.sample(pool, n), self.style(n, False, simple)
        doc = [(self.listing(items, style) + "\n\n", None)]
        ask = LOOKUPS[0] if stage == 1 else r.choice(LOOKUPS)
        for i in r.sample(range(n), (n + 1) // 2):
            doc += [(ask.format(a=items[i]), None), (style[0][i], f"list{n}" if simple else f"other{n}"), ("\n", None)]
        return doc

    def question(self, fact):
        """この台本だけの問い方 (クイズの問題文とは別)。四割は平叙文の答えを伏せた穴埋めにする。"""
        name, key, _, hint = fact
        r, rel = self.rng, self.rel[name]
        if r.random() < 0.4:
            t = r.choice([s for s in rel["statements"] if hint or "{hint}" not in s])
            return t.format(key=key, hint=hint, answer=r.choice(["〇〇", "( )", "___", "何"]))
        t = r.choice(OWN_HINT if hint and r.random() < 0.4 else OWN)
        return t.format(k=r.choice(["{}", "{}", "「{}」", "『{}』"]).format(key), n=rel["noun"], h=hint)

    def statement(self):
        """事実を一つから三つ、平叙文または一問一答で述べる。あとに出るほう (答えか問われるもの) に損失をかける。"""
        r, doc = self.rng, []
        for _ in range(r.randint(1, 3)):
            name, key, answer, hint = fact = r.choice(self.facts)
            if r.random() < 0.5:
                cue = self.question(fact) + r.choice(["\n答え ", " → ", "\nこたえは", " "])
                doc += [(cue, None), (answer, "fact"), ("\n", None)]
                continue
            t = r.choice([s for s in self.rel[name]["statements"] if hint or "{hint}" not in s]).replace("{hint}", hint)
            last = "{answer}" if t.index("{answer}") > t.index("{key}") else "{key}"
            a, b = (part.format(key=key, answer=answer) for part in t.split(last, 1))
            kind = "fact" if last == "{answer}" else "key" if r.random() < 0.3 else None
            doc += [(a, None), (answer if kind == "fact" else key, kind), (b, "text" if r.random() < 0.1 else None), ("\n", None)]
        return doc

    def exam(self, direct, longest):
        """選択肢つきの試験。答えを書いてから記号を書く形と、すぐ記号を書く形 (direct) がある。"""
        r = self.rng
        fact, n = r.choice(self.facts), r.randint(2, longest)
        easy = direct and r.random() < 0.35  # ほかの関係の答えも誤答にする
        pool = self.answers if easy else self.rel[fact[0]]["answers"]
        items, at = r.sample([a for a in pool if a != fact[2]], n - 1), r.randrange(n)
        items.insert(at, fact[2])
        style = self.style(n, True)
        q, ls, label, aux = self.question(fact), self.listing(items, style), style[0][at], (fact[2], "aux")
        head, mid = r.choice(HEADS_TEXT), r.choice(["\n", "\n\n", " ", " \n"])
        doc = [(head + q, None), aux, (mid + ls, None)]
        if r.random() < 0.25:
            doc = [(head + ls + "\n" + q, None), aux]
        if not direct:
            cue, mid = r.choice([("\n答えは", "、記号は"), ("\n正解 ", " → "), ("\n", " "), ("\n\n解 ", "。")])
            return doc + [(cue, None), (fact[2], "recall"), (mid, None), (label, "then"), ("\n", None)]
        cue = r.choice(["\n記号 ", "\n→ ", "\n\n解答欄 ", "\n選ぶのは", "\n\n"])
        return doc + [(cue, None), (fact[2], "slot"), (label, "easy" if easy else f"exam{n}"), ("。\n", None)]

    def matching(self, longest):
        """一つの一覧について、いくつかの問いに記号で答える試験。"""
        r, pool = self.rng, {}
        n, name = r.randint(2, longest), r.choice(list(self.by_rel))
        mixed = r.random() < 0.35
        for f in r.sample(self.facts, n) if mixed else r.sample(self.by_rel[name], len(self.by_rel[name])):
            pool.setdefault(f[2], f)
            if len(pool) == n:
                break
        facts = list(pool.values())
        style = self.style(len(facts), True)
        doc, ask = [(self.listing(pool, style) + "\n", None)], r.choice([" ", "…", "→"])
        for i in r.sample(range(len(facts)), (len(facts) + 1) // 2):
            doc += [("\n" + self.question(facts[i]), None), (facts[i][2], "aux"), (ask, None), (facts[i][2], "slot"),
                    (style[0][i], f"match{n}")]
        return doc + [("\n", None)]

    def document(self, stage, longest):
        x = self.rng.random()
        if stage == 1:
            return self.lookup(1, self.rng.randint(2, longest))
        if x < (0, 0, 0.5, 0.2, 0.12)[stage]:
            return self.lookup(2, self.rng.randint(2, 5))
        if x < (0, 0, 1, 0.5, 0.28)[stage]:
            return self.statement()
        if stage == 3:
            return self.exam(False, 5)
        return self.matching(longest) if x < 0.43 else self.exam(x < 0.93, longest)


def batches(writer, tok, kinds, stage, longest, count, device):
    """文章を count×4 個作り、長さの近いものどうし 4 組にして (トークン, 損失をかける位置, トークン数) を返す。"""
    docs = [writer.document(stage, longest) for _ in range(count * 4)]
    pieces = iter(tok.encode_batch([text for doc in docs for text, _ in doc], add_special_tokens=False))
    rows = []
    for doc in docs:
        ids, marks = [], []  # marks: (予測する位置, 正解, 種類の番号)
        for _, kind in doc:
            piece = next(pieces).ids
            if kind:
                number = kinds.setdefault(kind, len(kinds))
                target = piece[:1] if kind in HIDDEN_KINDS else piece
                marks += [(len(ids) + j - 1, t, number if j == 0 else -1) for j, t in enumerate(target)]
            if kind not in HIDDEN_KINDS:
                ids += piece
        if stage > 1:
            marks.append((len(ids) - 1, 0, -1))
        rows.append((ids + [0], [m for m in marks if m[0] >= 0]))
    rows.sort(key=lambda row: len(row[0]))
    groups = [rows[j:j + count] for j in range(0, len(rows), count)]
    writer.rng.shuffle(groups)
    for group in groups:
        width = max(len(ids) for ids, _ in group)
        ids = torch.tensor([ids + [1] * (width - len(ids)) for ids, _ in group])
        marks = torch.tensor([(b, *m) for b, (_, ms) in enumerate(group) for m in ms])
        yield ids.to(device), marks.to(device), sum(len(ids) for ids, _ in group)


def nf4_round(w):
    """重みを nf4 (64 個ごとに絶対値の最大で割り、16 個の値のどれかにする) に丸める。"""
    book = torch.tensor(NF4, device=w.device)
    v = w.reshape(-1, 64)
    top = v.abs().amax(1, keepdim=True).clamp_min(1e-8)
    return (book[torch.bucketize(v / top, (book[1:] + book[:-1]) / 2)] * top).reshape(w.shape)


def hidden(model, ids, weights):
    """GPTNeoXModel と同じ計算をする (右詰めのパディングなので、因果マスクだけでよい)。weights にある層はその重みを使う。"""
    (B, T), hd = ids.shape, WIDTH // HEADS
    R = int(hd * ROTARY)
    angle = torch.outer(torch.arange(T, device=ids.device), 1 / 10000 ** (torch.arange(0, R, 2, device=ids.device) / R)).repeat(1, 2)
    cos, sin = angle.cos(), angle.sin()

    def turn(u):
        return torch.cat([u[..., :R] * cos + torch.cat([-u[..., R // 2:R], u[..., :R // 2]], -1) * sin, u[..., R:]], -1)

    def line(layer, u):
        return F.linear(u, weights.get(layer, layer.weight), layer.bias)

    x, states = model.gpt_neox.embed_in(ids), []
    for layer in model.gpt_neox.layers:
        att, mlp = layer.attention, layer.mlp
        q, k, v = line(att.query_key_value, layer.input_layernorm(x)).view(B, T, HEADS, 3 * hd).transpose(1, 2).chunk(3, -1)
        o = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True).transpose(1, 2).reshape(B, T, WIDTH)
        x = x + line(att.dense, o)
        x = x + line(mlp.dense_4h_to_h, F.gelu(line(mlp.dense_h_to_4h, layer.post_attention_layernorm(x))))
        states.append(x)
    return [model.gpt_neox.final_layer_norm(states[i]) for i in (-1, EARLY - 1, EARLY)]


def new_model(vocab_size, device):
    """乱数で初期化したモデルを作る。query と key は同じ値から始め、同じ語に注意が向きやすくしておく。"""
    model = GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=vocab_size, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=4 * WIDTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": ROTARY}, rotary_pct=ROTARY,
        use_parallel_residual=False, hidden_act="gelu", max_position_embeddings=512, initializer_range=0.05, tie_word_embeddings=True,
        attention_dropout=0.0, hidden_dropout=0.0, bos_token_id=0, eos_token_id=0, pad_token_id=1))
    for layer in model.gpt_neox.layers:
        w = layer.attention.query_key_value.weight.data.view(HEADS, 3, WIDTH // HEADS, WIDTH)
        w[:, 0] *= 1.5
        w[:, 1] = w[:, 0]
    model.gpt_neox.embed_in.weight.data.normal_(0, 0.05)
    ids = torch.randint(2, vocab_size, (2, 40))
    with torch.no_grad():
        assert torch.allclose(hidden(model, ids, {})[0], model.gpt_neox(ids).last_hidden_state, atol=1e-3)
    return model.to(device)


def train(args, relations, facts, tok):
    """四段階の事前学習をして、(モデル, 学習したトークン数, 最後の段階) を返す。"""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    model = new_model(tok.get_vocab_size(), device)
    head = model.get_output_embeddings()
    linear = [m for m in model.gpt_neox.layers.modules() if isinstance(m, torch.nn.Linear)]
    matrices = [m.weight for m in linear]
    rest = [p for p in model.parameters() if not any(p is w for w in matrices)]
    opts = [torch.optim.Muon(matrices, lr=0.02, weight_decay=0.01, momentum=0.95),
            torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)]
    rates = [(0.015, 0.02), (1.5e-3, 4e-3)]  # (段階 1, 段階 2 から)
    writer, kinds, acc = Writer(relations, facts, args.seed), {}, {}
    stage, longest, tokens, steps, start, budget = 1, 2, 0, 0, time.time(), args.tokens * 1e6
    said = start
    while tokens < budget and (not args.minutes or time.time() - start < args.minutes * 60):
        for ids, marks, real in batches(writer, tok, kinds, stage, longest, 128, device):
            done = max(tokens / budget, (time.time() - start) / (args.minutes * 60) if args.minutes else 0)
            scale = min(1, (steps + 1) / 50) * (1 if done < 0.7 else 1 - 0.95 * min(1, (done - 0.7) / 0.3))
            for opt, rate in zip(opts, rates):
                opt.param_groups[0]["lr"] = rate[stage > 1] * scale
            weights = {}
            if done > 0.85:  # nf4 に丸めた重みで計算し、勾配は元の重みに渡す
                weights = {m: m.weight + (nf4_round(m.weight.detach()) - m.weight).detach() for m in linear}
            states, every = hidden(model, ids, weights), marks
            slot = every[:, 3] == kinds.get("slot", -2)
            marks = every[~slot]
            logits = head(states[0][marks[:, 0], marks[:, 1]])
            loss = F.cross_entropy(logits, marks[:, 2])
            recall = (every[:, 3] == kinds.get("aux", -2)) | (every[:, 3] == kinds.get("fact", -2))
            for state, part in ((states[1], every[recall]), (states[2], every[slot])):
                if len(part):  # 途中の層でも答えを予測させる。これがないと「思い出して、一覧から探す」が 1 回の計算でつながらない
                    loss = loss + 0.5 * F.cross_entropy(head(state[part[:, 0], part[:, 1]]), part[:, 2])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for opt in opts:
                opt.step()
                opt.zero_grad()
            steps, tokens = steps + 1, tokens + real
            hit = (logits.argmax(-1) == marks[:, 2]).float()
            for name, number in kinds.items():  # 正答率の移動平均
                part = hit[marks[:, 3] == number]
                if len(part):
                    w, mean = min(1, len(part) / 1000), part.mean().item()
                    acc[name] = acc.get(name, mean) * (1 - w) + mean * w
            if time.time() - said > 60:
                said = time.time()
                rows = " ".join(f"{k}={v:.2f}" for k, v in sorted(acc.items()))
                print(f"{(said - start) / 60:.0f} 分 段階 {stage} {tokens / 1e6:.2f} 百万トークン 損失 {loss.item():.3f} 正答率 {rows}",
                      flush=True)
        if stage == 1 and acc.get(f"list{longest}", 0) > 0.88:
            longest, acc = longest + 1, {}
            stage = 2 if longest > 5 else 1
        elif stage == 2 and acc.get("other5", 0) > 0.85 and acc.get("fact", 0) > 0.5:
            stage = 3
        elif stage == 3 and acc.get("recall", 0) > 0.7 and acc.get("then", 0) > 0.8:
            stage, longest = 4, 2
        elif stage == 4 and longest < 5 and acc.get(f"exam{longest}", 0) > 0.8:
            longest += 1
    with torch.no_grad():
        for m in linear:
            m.weight.copy_(nf4_round(m.weight))
    return model.cpu(), tokens, stage, longest


def main():
    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description="事実の表から作った文章で、小さな GPT-NeoX をゼロから事前学習する。")
    p.add_argument("--facts", type=Path, default=here / "facts", help="事実の表 (*.tsv と *.toml) のフォルダ")
    p.add_argument("-o", "--output", type=Path, default=here / "model", help="モデルを書き出すフォルダ")
    p.add_argument("--seed", type=int, default=2, help="乱数の種")
    p.add_argument("--without-dev", action="store_true", help="評価用 (dev1, dev2) の事実を事前学習に使わない")
    p.add_argument("--tokens", type=float, default=12, help="学習するトークン数 (百万)")
    p.add_argument("--minutes", type=float, default=0, help="学習時間の上限 (分)。0 なら上限なし")
    p.add_argument("--threads", type=int, default=0, help="CPU のスレッド数。0 なら torch に任せる")
    p.add_argument("--vocab", type=int, default=8500, help="語彙の大きさ")
    args = p.parse_args()
    torch.set_flush_denormal(True)
    if args.threads:
        torch.set_num_threads(args.threads)
    relations, facts, everything = load_facts(args.facts, args.without_dev)
    part = args.output.with_name(args.output.name + ".part")
    if args.output.exists() and not (args.output / "config.json").exists():
        fail(f"{args.output} は、モデルのフォルダではありません。消さないように、別の -o を指定してください。")
    try:  # 書けないと、学習が終わってから分かるのでは遅い
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    except OSError as e:
        fail(f"{part} を作れません ({reason(e)})。別の -o を指定してください。")
    tok = make_tokenizer(relations, everything, args.vocab)
    print(f"{len(relations)} 関係、{len(facts)} 件の事実、語彙 {tok.get_vocab_size()}", flush=True)
    model, tokens, stage, longest = train(args, relations, facts, tok)
    print(f"学習を終えました: {tokens / 1e6:.2f} 百万トークン、{sum(p.numel() for p in model.parameters())} パラメータ", flush=True)
    if stage < 4 or longest < 5:
        print(f"警告: 段階 {stage} ({longest} 択) までしか進みませんでした。--tokens か --minutes を増やしてください。", flush=True)
    model.half().save_pretrained(part)
    tok.save(str(part / "tokenizer.json"))
    (part / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "GPTNeoXTokenizer", "bos_token": EOS, "eos_token": EOS, "unk_token": EOS, "pad_token": PAD,
        "add_prefix_space": False, "clean_up_tokenization_spaces": False, "model_max_length": 512}, indent=2) + "\n", "utf-8")
    shutil.rmtree(args.output, ignore_errors=True)
    part.rename(args.output)
    print(f"{args.output} に書きました。")


if __name__ == "__main__":
    main()
