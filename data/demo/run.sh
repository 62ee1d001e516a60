#!/usr/bin/env bash
# デモ: 手順1から5までを、GPU もネットワーク上のモデルもなしで通す。打つコマンドは README の手順と同じ。
#     bash data/demo/run.sh
#     bash data/demo/run.sh --seed 1     # 引数は手順3に渡る (ここでは学習の乱数の種)
#     DEMO_CONFIG=data/demo/without-dev.yml bash data/demo/run.sh    # 別の設定で
# 書くのは data/demo/out/seed-42 など、引数ごとのフォルダ。もう一度実行すると、途中なら続け、済んだ学習はやり直さない。
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
. data/demo/venv.sh  # .venv を作り、requirements.txt を入れる
export PATH="$root/.venv/bin:$PATH"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"  # data/demo/out の下からも quiz/ が見えるように
export AXOLOTL_DO_NOT_TRACK=1 HF_HUB_OFFLINE=1  # 利用状況を送らない。モデルは手元のものだけを使う

config=${DEMO_CONFIG:-data/demo/qlora-demo.yml}
name=$(printf '%s' "${DEMO_CONFIG:+$(basename "$config" .yml)-}${*:-seed 42}" | tr -cs '[:alnum:].' - | sed 's/^-//')
mkdir -p "data/demo/out/$name"
cd "data/demo/out/$name"
ln -sfn "$root/data" data
say() { printf '\n== %s\n' "$*"; }

say "手順1: 学習用ファイルを作る"
python "$root/convert_train.py" data/demo/train_questions.json

say "手順2: 評価用ファイルを作る (dev1 と dev2)"
python "$root/convert_eval.py" data/demo/dev1_questions.json
python "$root/convert_eval.py" data/demo/dev2_questions.json -o quiz-dev2.json

say "手順4 (学習前): 何も学習していないモデルに解かせる"
python "$root/run_quiz.py" --config "$config" --base
python "$root/run_quiz.py" --config "$config" --base --quiz quiz-dev2.json

say "手順3: QLoRA で学習する (約 2 分)"
accelerate launch -m axolotl.cli.train "$config" "$@"

say "手順4 (学習後)"
python "$root/run_quiz.py" --config "$config"
python "$root/run_quiz.py" --config "$config" --quiz quiz-dev2.json

say "手順5: 正解率 (base: 学習前)"
python "$root/analysis.py" --genre
