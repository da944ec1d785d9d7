"""Chinese beside the English of tables that several documents share, for those that are read in both languages."""

from __future__ import annotations

import re

CELLS = {  # what a cell says, when nothing else stands in it
    "project": "项目",
    "domain": "领域",
    "base model": "基座模型",
    "base model, SHA-256": "基座模型 SHA-256",
    "base model, source": "基座模型来源",
    "base model, licence": "基座模型许可证",
    "chat template": "对话模板",
    "policy": "策略",
    "policy, SHA-256": "策略 SHA-256",
    "package, SHA-256 of its manifest": "模型包清单 SHA-256",
    "standing of the package": "模型包状态",
    "what persons declared": "人员声明",
    "newest event that was known here": "已知的最新事件",
    "language": "语言",
    "model": "模型",
    "base": "基座",
    "adapted": "适配后",
    "majority answer": "多数答案",
    "all": "全部",
    "questions": "题数",
    "documents": "文档数",
    "exact match": "完全匹配",
    "token F1": "词元 F1",
    "perplexity": "困惑度",
    "leak check": "泄漏检查",
    "adapted model": "适配后的模型",
    "control, trained on values in plain": "对照：以明文训练",
    "at chance": "随机水平",
    "mean exposure of planted values, in bits, and the most that it can be": "植入值的平均暴露度（比特）及其上限",
    "values given back word for word": "逐字给出的值",
    "AUC of telling planted values from others": "区分植入值与其他值的 AUC",
    "true positive rate at 1 % false positives": "1 % 误报率下的检出率",
    "harmful": "有害请求",
    "harmful en": "有害请求，英文",
    "harmful zh": "有害请求，中文",
    "unanswerable": "无法回答的问题",
    "unanswerable en": "无法回答的问题，英文",
    "unanswerable zh": "无法回答的问题，中文",
    "safety": "安全探针",
    "action": "操作",
    "started": "开始",
    "finished": "完成",
    "refused": "被拒",
    "failed": "失败",
    "first": "首次",
    "last": "最近",
    "by": "执行人",
    "who": "谁",
    "decision": "决定",
    "time": "时间",
    "reason": "理由",
    "approve": "批准",
    "review": "复核",
    "reject": "否决",
    "withdraw": "撤回",
    "decisions over the package": "对模型包的决定",
    "record or file": "记录或文件",
    "yes": "是",
    "no": "否",
    "number": "编号",
    "section": "章节",
    "what": "内容",
    "answered by": "由何补充",
}
_CELL = re.compile(r"(?<!\\)\|")


def in_both_languages(text: str) -> str:
    """Put the Chinese behind every cell of a table that has some."""
    return "\n".join(
        "|".join(_cell(cell) for cell in _CELL.split(line)) if line.startswith("|") else line
        for line in text.split("\n")
    )


def _cell(cell: str) -> str:
    said = cell.strip()
    return f" {said} · {CELLS[said]} " if said in CELLS else cell
