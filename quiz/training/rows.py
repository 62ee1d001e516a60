"""学習に使う行 (トークン列とラベル) が、手順4の問い方のとおりかを確かめる。

手順4は、プロンプトのトークン列の直後に、回答を続けさせる。だから学習の 1 行は
    プロンプトのトークン列 + 回答のトークン列 + 終わりの記号 (EOS)
でなければならず、損失を計算する (ラベルのある) のは回答と EOS だけである。
"""

from collections import Counter

from quiz.model import encode_prompts
from quiz.training.yaml_check import WrongSetting

# このラベルのトークンは、損失に数えない
IGNORED = -100


def expected_rows(tokenizer, base, questions):
    """questions のあるべき行 (トークン列, ラベル) のリスト。どちらも整数のタプル。"""
    prompts = encode_prompts(tokenizer, base, [q.prompt for q in questions])
    answers = tokenizer([q.answer for q in questions], add_special_tokens=False)["input_ids"]
    rows = []
    for prompt, answer in zip(prompts, answers):
        answer = [*answer, tokenizer.eos_token_id]
        rows.append((tuple(prompt + answer), tuple([IGNORED] * len(prompt) + answer)))
    return rows


def check_first_row(tokenizer, yaml, question, expected):
    """Axolotl が最初の問題から作る行を、あるべき行 expected と比べる。違えば WrongSetting。"""
    from axolotl.prompt_strategies.user_defined import UserDefinedDatasetConfig, load
    from axolotl.utils.dict import DictDefault

    # プロンプトの最後が EOS なら、回答の前に終わっている
    ids, labels = expected
    if ids[labels.count(IGNORED) - 1] == tokenizer.eos_token_id:
        raise WrongSetting(
            f"{yaml['base_model']} のトークナイザは、どの文の終わりにも終わりの記号を付けるので、"
            "プロンプトが終わったことになり、学習できません。別のモデルを使ってください。",
            "base_model",
        )

    # Axolotl に 1 行だけ作らせる
    kind = UserDefinedDatasetConfig(**yaml["datasets"][0]["type"])
    record = {"instruction": question.prompt, "output": question.answer}
    made = load(tokenizer, DictDefault(yaml), kind).tokenize_prompt(record)
    if tuple(made["input_ids"]) != ids:
        raise WrongSetting(
            f"{yaml['base_model']} のトークナイザでは、Axolotl の作る行のプロンプトと回答の間に"
            "余分なトークンが入り、手順4と違う問い方の学習になります。"
            "別のモデルを使ってください。",
            "base_model",
        )


def check_dataset(dataset, expected):
    """Axolotl が学習に使う行 dataset が、順を除いて expected とすべて同じか。

    違えば、その理由の ValueError。
    """
    if len(dataset) != len(expected):
        raise ValueError(
            f"学習に使われる {len(dataset)} 行が、学習用ファイルの {len(expected)} 問と違います"
        )
    # トークン列とラベルの組を、何度出てくるかまで比べる
    columns = zip(dataset["input_ids"], dataset["labels"])
    used = Counter((tuple(ids), tuple(labels)) for ids, labels in columns)
    other = used - Counter(expected)
    if other:
        raise ValueError(
            f"学習に使われる行のうち {other.total()} 行が、今の学習用ファイルのものではありません"
        )
