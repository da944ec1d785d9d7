"""Ways to ask. `{x}` is the term, `{r}` a relation's name in a frame; `|` or a line's end parts alternatives."""

from __future__ import annotations

from dataclasses import dataclass

_ENGLISH_FRAMES = """
What is {r} of {x}?|What's {r} of {x}?|Give {r} of {x}.|Give me {r} of {x}.|State {r} of {x}.|Tell me {r} of {x}.
Name {r} of {x}.|I need {r} of {x}.|Please give {r} of {x}.|Can you tell me {r} of {x}?|Do you know {r} of {x}?
Write {r} of {x}.|Write down {r} of {x}.|{x}: {r}?|{x} - {r}?|For {x}, what is {r}?|For {x}, give {r}.
About {x}: what is {r}?|Which is {r} of {x}?|Could you state {r} of {x}?|Recall {r} of {x}.|Remind me of {r} of {x}.
In short, what is {r} of {x}?|Briefly state {r} of {x}.|Provide {r} of {x}.|What would you give as {r} of {x}?
A colleague wants {r} of {x}.|We are looking for {r} of {x}.|Explain {r} of {x}.|Identify {r} of {x}.
What do people call {r} of {x}?|How would you state {r} of {x}?|Show {r} of {x}.|Please state {r} of {x} briefly.
Quick question: {r} of {x}?|If someone mentions {x}, what is {r}?|In the case of {x}, what is {r}?
When it comes to {x}, what is {r}?|Fill in {r} of {x}: ___|What should I write as {r} of {x}?
My notes lack {r} of {x}.|Help me with {r} of {x}.|I forgot {r} of {x}.|Complete: {r} of {x} is
"""
_CHINESE_FRAMES = """
{x}的{r}是什么?|{x}的{r}是?|什么是{x}的{r}?|请给出{x}的{r}。|请说出{x}的{r}。|请写出{x}的{r}。|请问{x}的{r}是什么?
告诉我{x}的{r}。|{x}的{r}为何?|我想知道{x}的{r}。|想了解{x}的{r}。|关于{x},{r}是什么?|说说{x}的{r}。|简述{x}的{r}。
简要说明{x}的{r}。|{x}:{r}?|{x}有怎样的{r}?|对于{x},{r}是什么?|就{x}而言,{r}是什么?|能否给出{x}的{r}?
你知道{x}的{r}吗?|哪个是{x}的{r}?|帮我查一下{x}的{r}。|忘了{x}的{r},请提醒。|解释{x}的{r}。|列出{x}的{r}。
填空:{x}的{r}是____。|提到{x}时,{r}是什么?|如果遇到{x},它的{r}是什么?|同事问{x}的{r}。|{x},它的{r}是什么?
一句话说明{x}的{r}。
"""


@dataclass(frozen=True)
class Relation:
    """One thing that can be asked about a term: its names for the frames, its own wordings, the kind of its answer."""

    kind: str
    english_names: tuple[str, ...]
    english: tuple[str, ...]
    chinese_names: tuple[str, ...]
    chinese: tuple[str, ...]


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for line in text.splitlines() for part in line.split("|") if part.strip())


ENGLISH_FRAMES = _alternatives(_ENGLISH_FRAMES)
CHINESE_FRAMES = _alternatives(_CHINESE_FRAMES)

# Kind of answer, then names and wordings in English, names and wordings in Chinese, a line `-` between them.
_RELATIONS = """
expansion
the full form|the full name|the long form|the expansion|the meaning|the words behind the letters
-
What does {x} stand for?|What is {x} short for?|{x} stands for what?|Expand {x}.|Expand the abbreviation {x}.
Spell out {x}.|What do the letters {x} stand for?|{x} is an abbreviation of what?|What does the abbreviation {x} mean?
What does {x} mean?|Write {x} in full.|Unpack the acronym {x}.|The acronym {x} is short for which words?
In a note, {x} means what?|How do you read {x} in full?|Decode {x}.|What phrase does {x} abbreviate?
When a note says {x}, what is meant?
-
全称|全名|完整名称|含义|意思
-
{x}代表什么?|{x}是什么的缩写?|{x}是什么的简称?|{x}是什么意思?|缩写{x}的全称是什么?|{x}指的是什么?|{x}怎么解释?
展开缩写{x}。|写出{x}的完整说法。|{x}表示什么?|{x}全称怎么写?|简称{x}对应的全称是?|看到{x},应理解为什么?
{x}这个缩写代表什么含义?
==
definition
the definition|the meaning|the short definition|a brief definition|the sense
-
What is {x}?|What is a {x}?|What is meant by {x}?|Define {x}.|What does {x} mean?|How is {x} defined?
Explain {x} briefly.|What does the term {x} refer to?|In plain words, what is {x}?|Describe {x} in a few words.
The term {x} means what?|How would you explain {x}?|What do we call {x}?|What does {x} describe?|{x} refers to what?
Say in simple words what {x} is.|Put {x} in plain language.|What should a reader understand by {x}?
-
定义|含义|意思|概念|解释
-
什么是{x}?|{x}是什么?|{x}是指什么?|{x}指什么?|何谓{x}?|怎样理解{x}?|{x}怎么定义?|{x}如何定义?|解释一下{x}。
用一句话解释{x}。|通俗地说,{x}是什么?|所谓{x}是指?|{x}这个词是什么意思?|术语{x}说的是什么?|如何向别人说明{x}?
==
formula
the formula|the equation|the calculation|the way to compute the value|the rule
-
How is {x} calculated?|How do you calculate {x}?|How do I work out {x}?|How is {x} computed?|What formula gives {x}?
{x} equals what?|{x} equals which ratio?|Which two figures make up {x}?|What do you divide to get {x}?
Compute {x} how?|To get {x}, what do you do?|How would one derive {x}?|What is {x} equal to?
Which formula is used for {x}?|By what calculation do we find {x}?|What goes into {x}?|How does one obtain {x}?
-
公式|计算公式|算法|计算方法|计算方式
-
{x}怎么算?|{x}如何计算?|怎样计算{x}?|怎么计算{x}?|{x}等于什么?|求{x}用什么公式?|{x}用什么除以什么?
计算{x}要用哪个公式?|{x}由什么得出?|如何求出{x}?|{x}是怎样得到的?|要得到{x},该怎么算?|{x}等于什么除以什么?
==
code
the code|the code number|the number|the identifier|the class code|the reference
-
Which code is used for {x}?|What code stands for {x}?|Which code covers {x}?|Under which code is {x} recorded?
How is {x} coded?|{x} is coded as what?|Code {x}.|What do you enter for {x}?|Which number belongs to {x}?
Look up {x}: which code?|Find the code for {x}.|{x} falls under which code?|What is the code for {x}?
Assign a code to {x}.|Which category code applies to {x}?
-
编码|代码|编号|类目代码|分类代码
-
{x}用什么编码?|{x}对应哪个编码?|{x}的代码是多少?|{x}应编为哪个代码?|{x}编码是哪一个?|查{x}的编码。
登记{x}时填什么代码?|{x}归入哪个编码?|哪个代码表示{x}?|{x}编到哪一类?|给{x}编码。
==
term
the term|the name|the right word
-
Which term means {x}?|What is the term for {x}?|What do you call {x}?|What is the word for {x}?|{x} is called what?
Which word describes {x}?|Name the term: {x}.|What is the name for {x}?|Which name fits this: {x}?
What term is used for {x}?|How do we call {x}?|{x}: which term is it?|One word for {x}?|Which item is {x}?
-
术语|名称|说法|叫法
-
哪个术语表示{x}?|{x}叫什么?|{x}称为什么?|什么叫做{x}?|{x}用什么词表示?|表示{x}的术语是什么?|{x}的专业说法是?
{x}被称作什么?|请给出表示{x}的词。|{x}通常叫什么?
==
number
the usual value|the limit|the normal range|the threshold|the standard value|the target|the maximum|the minimum
-
What value is normal for {x}?|How much is {x}?|How high may {x} be?|What is the limit for {x}?
What threshold applies to {x}?|From what level is {x} used?|At which value does {x} begin?
How many units does {x} need?|What number applies to {x}?|Up to what amount is {x} allowed?
What range is usual for {x}?|How large is {x} at most?|What is the cut-off for {x}?|Below what value is {x} low?
-
正常值|正常范围|上限|下限|标准值|阈值|限额|最大值|最小值
-
{x}是多少?|{x}一般是多少?|{x}不超过多少?|{x}最多多少?|{x}至少多少?|{x}的标准是多少?|{x}应该是多少?|{x}正常是多少?
{x}的界限是多少?|{x}以多少为准?|多少算{x}?
==
time
the deadline|the frequency|the schedule|the time limit|the duration|the period|the interval
-
How often is {x} done?|When is {x} due?|How long does {x} last?|Within what time is {x} due?
How many times a day is {x}?|What frequency does {x} mean?|When should {x} be filed?|By when must {x} be done?
How soon is {x} needed?|When is {x} given?|At what time does {x} happen?|How many days does {x} take?
When does {x} take effect?|After how long is {x} repeated?
-
期限|时限|频率|时间|周期|间隔|截止时间
-
{x}多久一次?|{x}什么时候做?|{x}什么时候到期?|{x}要在多久内完成?|{x}每天几次?|{x}持续多久?|{x}何时进行?|{x}几天一次?
{x}多长时间?|{x}应于何时提交?|{x}多久内报告?
==
category
the category|the type|the class|the group|the kind
-
What kind of thing is {x}?|What type is {x}?|To which category does {x} belong?|{x} belongs to which class?
Is {x} what kind of item?|Under which group does {x} fall?|How is {x} classified?|In which class is {x}?
What sort of item is {x}?|{x} counts as what?|Classify {x}.|Where in the classification is {x}?
-
类别|类型|种类|分类|所属类别
-
{x}属于什么?|{x}属于哪一类?|{x}是哪种类型?|{x}归为哪一类?|{x}算什么类型?|{x}属于哪个类别?|{x}是什么性质?|把{x}归类。
{x}应归入哪类?|{x}是一种什么?
==
purpose
the purpose|the use|the goal|the main use|the function|the point
-
What is {x} used for?|Why is {x} used?|What does {x} do?|What does {x} measure?|What does {x} show?
What does {x} tell us?|What is {x} for?|What is the point of {x}?|What does {x} help with?|For what is {x} needed?
What job does {x} do?|What does {x} assess?|Why do people use {x}?|What can you learn from {x}?
-
用途|作用|目的|功能|主要用途|意义
-
{x}有什么用?|{x}用来做什么?|{x}用于什么?|{x}衡量什么?|{x}反映什么?|{x}说明什么?|为什么要用{x}?|{x}起什么作用?
{x}主要用来干什么?|{x}能告诉我们什么?|使用{x}是为了什么?
==
cause
the cause|the main cause|the sign|the effect|the risk|the result|the consequence|the danger
-
What causes {x}?|What does {x} lead to?|What is the risk in {x}?|What happens in {x}?|What follows from {x}?
Why does {x} happen?|What does a high {x} suggest?|What does a low {x} suggest?|What signals {x}?
What is the danger of {x}?|{x} is a sign of what?|What does {x} point to?|What effect does {x} have?
What results from {x}?
-
原因|结果|风险|后果|影响|危险|表现
-
{x}说明了什么问题?|什么导致{x}?|{x}会引起什么?|{x}意味着什么?|{x}有什么风险?|{x}由什么引起?|{x}会怎样?|为什么会{x}?
{x}过高说明什么?|{x}过低说明什么?|{x}提示什么?|{x}会造成什么?
==
place
the place|the location|the section|the source|the site|the part
-
Where is {x} found?|Where do you find {x}?|Where is {x} reported?|Where is {x} shown?|In which section is {x}?
In which part does {x} appear?|Which statement shows {x}?|Which document contains {x}?|Where should I look for {x}?
Where does {x} go?|On which page is {x}?|Where is {x} kept?|Where is {x} listed?|Where does {x} sit?
-
位置|所在部分|出处|所在章节|部位
-
{x}在哪里?|{x}在哪里可以找到?|{x}列在哪里?|{x}写在哪里?|{x}出现在哪张表?|{x}在哪个部分?|哪份文件包含{x}?|去哪里查{x}?
{x}应放在哪里?|{x}记在哪里?|{x}列示于何处?
==
person
the responsible person|the issuer|the owner|the author|the responsible body|the person in charge
-
Who approves {x}?|Who issues {x}?|Who is responsible for {x}?|Who signs {x}?|Who prepares {x}?|Who handles {x}?
Who checks {x}?|Which body issues {x}?|Who takes care of {x}?|Who may order {x}?|Whose job is {x}?|Who uses {x}?
Who pays {x}?|By whom is {x} done?
-
负责人|负责部门|发布机构|签发人|主管部门
-
谁负责{x}?|{x}由谁负责?|{x}由谁批准?|谁来签{x}?|{x}由哪个机构发布?|谁审批{x}?|{x}归谁管?|{x}应找谁?|哪个部门管{x}?
{x}由谁编制?|{x}由谁承担?
==
action
the first step|the rule|the requirement|the right action|the advice|the next step|the treatment|the instruction
-
What should be done about {x}?|What do you do in case of {x}?|What comes first in {x}?|What must happen before {x}?
How should one handle {x}?|How is {x} treated?|What does {x} require?|What is required for {x}?
What should I do with {x}?|What is the advice on {x}?|What does the rule on {x} say?|How do you respond to {x}?
How do you prevent {x}?|What must be checked before {x}?
-
第一步|要求|规定|处理方法|建议|做法|下一步|注意事项
-
{x}怎么办?|出现{x}怎么办?|{x}应怎么处理?|如何处理{x}?|{x}要先做什么?|{x}有什么要求?|{x}需要什么?|遇到{x}该怎么做?
{x}前要注意什么?|关于{x}有什么规定?|{x}应当如何做?|怎样预防{x}?
==
opposite
the opposite|the counterpart|the contrary|the other side|the reverse
-
What is the opposite of {x}?|What is contrary to {x}?|Which term is opposed to {x}?|What stands against {x}?
{x} is the opposite of what?|What differs most from {x}?|What is the counterpart to {x}?|Name what is opposed to {x}.
-
反义|对应概念|对立面|相反概念
-
{x}的反面是什么?|与{x}相反的是什么?|和{x}相对的是什么?|{x}与什么相对?|什么与{x}相反?|{x}对应的另一方是什么?
==
members
the parts|the components|the items|the elements|the members
-
What are the parts of {x}?|What does {x} consist of?|What makes up {x}?|Which items does {x} include?
What does {x} contain?|List the parts of {x}.|{x} consists of what?|What belongs to {x}?|{x} includes which items?
What three things form {x}?|What is part of {x}?
-
组成|组成部分|内容|要素|构成
-
{x}包括什么?|{x}包括哪些?|{x}由什么组成?|{x}由哪些部分构成?|{x}包含哪些内容?|{x}有哪些?|列举{x}的内容。
{x}分为哪几部分?|构成{x}的是什么?
==
unit
the unit|the measure|the usual unit
-
In what unit is {x} given?|Which unit is used for {x}?|What unit does {x} have?|In which unit do we measure {x}?
How is {x} expressed?|{x} is measured in what?|{x} is expressed in which unit?|What is {x} measured in?
-
单位|计量单位|常用单位
-
{x}用什么单位?|{x}以什么为单位?|{x}的单位怎么写?|测量{x}用什么单位?|{x}用什么表示?|{x}按什么计量?
==
worked
the result|the answer|the outcome|the total|the amount
-
Calculate: {x}.|Work out: {x}.|{x}. What is the result?|{x}: how much?|{x}; what do you get?|Given {x}, what results?
With {x}, what is the answer?|Suppose {x}. What comes out?|What follows for {x}?|Compute the result: {x}.
{x}. How much is that?|If {x}, what is the amount?
-
结果|答案|得数|金额|数值
-
计算:{x}。|{x},是多少?|{x},结果是多少?|已知{x},求结果。|{x},应为多少?|若{x},得多少?|假设{x},算一下。|{x},请计算。
{x}等于多少?
==
abbreviation
the abbreviation|the short form|the acronym|the initials
-
What is the abbreviation for {x}?|How is {x} abbreviated?|Abbreviate {x}.|Which letters stand for {x}?
What is {x} called for short?|Shorten {x}.|What is the short form of {x}?|Which acronym means {x}?
How do you write {x} in short?|In short form, {x} is written how?
-
缩写|简称|英文缩写|简写
-
{x}简称什么?|{x}缩写是什么?|{x}怎么缩写?|{x}的英文缩写怎么写?|哪个缩写表示{x}?|{x}可简写为?|{x}用哪个缩写表示?
如何缩写{x}?
==
translation
the translation|the equivalent in the other language|the foreign name
-
Translate {x}.|How do you say {x} in the other language?|What is {x} in Chinese?|What is {x} in English?
Give the Chinese for {x}.|Give the English for {x}.|What does {x} become when translated?
-
英文|译名|翻译|英文名称|中文名称|中文
-
{x}用英语怎么说?|{x}用英文怎么说?|{x}英语是什么?|翻译{x}。|把{x}翻译出来。|{x}译成什么?|{x}的英文怎么写?
{x}翻译成中文是什么?
"""


def _relations() -> tuple[Relation, ...]:
    found = []
    for block in _RELATIONS.strip().split("=="):
        kind, rest = block.strip().split("\n", 1)
        found.append(Relation(kind, *(_alternatives(part) for part in rest.split("\n-\n"))))
    return tuple(found)


RELATIONS = _relations()

# Text around a question. `{q}` is the question, `{p}` one or more placeholders or names.
ENGLISH_WRAPS = _alternatives("""
Please answer: {q}|Question: {q}|Quick check: {q}|In brief: {q}|A colleague asks: {q}|Answer shortly. {q}
{q} Answer briefly.|{q} Thanks.|For my notes: {q}|Hello, {q}|Q: {q}|{q} Please be brief.|Exam: {q}
I have a question. {q}|Review question: {q}|{q} (short answer)
""")
CHINESE_WRAPS = _alternatives("""
请回答:{q}|问题:{q}|请问,{q}|简答:{q}|同事问:{q}|{q}请简要回答。|{q}谢谢。|你好,{q}|考题:{q}|复习题:{q}|快速提问:{q}
{q}(简答)|培训提问:{q}
""")
ENGLISH_CONTEXTS = _alternatives("""
Customer {p} asks: {q}|Client {p} asks: {q}|Mr. {p} asks: {q}|Ms. {p} wants to know: {q}|Dr. {p} asks: {q}
Patient {p} asks: {q}|For {p}: {q}|Customer {p} ({p}, card {p}) asks: {q}|Customer {p}, card {p}, asks: {q}
Email from {p}: {q}|Call from {p}: {q}|From {p}, phone {p}: {q}|Ticket of {p}, account {p}: {q}
Note for {p}, born {p}: {q}|Our client {p} of {p} writes: {q}|Ref. {p}. {q}|{q} Reply to {p}.|{q} Contact: {p}, {p}.
Message from {p} at {p}: {q}|Caller {p} (DOB {p}) asks: {q}|{p} wrote: {q}|Hi, I am {p}, ID {p}. {q}
Chart of {p}, no. {p}: {q}|Nurse {p} asks: {q}|Regarding {p} (policy {p}): {q}|On behalf of {p} ({p}): {q}
Patient {p}, MRN {p}: {q}|{p}, number {p}, asked us: {q}|User {p} from {p} asks: {q}
""")
CHINESE_CONTEXTS = _alternatives("""
客户{p}问:{q}|客户{p}(手机{p})问:{q}|{p}先生问:{q}|{p}女士想知道:{q}|患者{p}问:{q}|患者{p}(病历号{p})问:{q}
来自{p}的邮件:{q}|电话{p}来电:{q}|客户{p},卡号{p},询问:{q}|{p}医生问:{q}|护士{p}问:{q}|用户{p}留言:{q}|{q}请回复{p}。
{q}联系人{p},电话{p}。|身份证号{p}的客户问:{q}|家属{p}({p})咨询:{q}|{p}(出生日期{p})问:{q}|账户{p}的持有人{p}问:{q}
地址{p}的{p}来信:{q}|我是{p},{q}|同事{p}转问:{q}
""")

# A first sentence that names the term; the question that follows says `it`. `{n}` and `{m}` are any nouns,
# `{a}` any adjective, `{v}` any verb, `{d}` a quantity.
ENGLISH_SCENES = _alternatives("""
The {n} mentions {x}.|The {a} {n} mentions {x}.|There is {x} on the {n}.|A {a} {n} refers to {x}.
Someone wrote {x} on the {n}.|We discussed {x} after the {n}.|{x} came up in the {n}.|I read about {x} in a {n}.
My {n} asks about {x}.|In the {n} I see {x}.|Take {x} as an example.|A new {n} has never heard of {x}.
Our {n} depends on {x}.|Every {n} has {x} in it.|The {n} and the {m} both use {x}.|A {n} says {x}.
Look at {x} in the {n}.|On the {n} it reads {x}.|This {n} is about {x}.|You meet {x} in a {a} {n}.
The {n} deals with {x};|After the {n} comes {x}:|Before the {m}, the {n} needs {x}.|Think of {x}.
Our {n} has a {x} of {d}.|With {x} at {d}, the {n} is {a}.|The {n} reports {x} of {d}.|In {d} the {n} chose {x}.
A {n} with {x} asks for the {m}.|A {n} wants {x} for {d}.|The {n} cannot {v} without {x}.|They {v} {x} in the {n}.
Before they {v} the {n}, they check {x}.|If you {v} {x}, the {m} is {a}.|During the {n} they spoke of {x}.
The {m} of a {n} lists {x}.|I do not understand {x}.|The {n} of our {m} shows {x}, and nobody knows it.
""")
CHINESE_SCENES = _alternatives("""
{n}里提到{x}。|{n}上写着{x}。|看到{x},|有人问起{x},|新来的{n}不懂{x},|{a}{n}中出现{x}。|我在{n}看到{x}。
{n}和{m}都用到{x}。|我们谈到{x}。|以{x}为例,|{n}的{x}是{d}。|{x}为{d},|这个{n}{x}{d},|{d}的{n}用了{x}。|{n}想{v}{x},
{m}要{v}{x}了,|{n}正在{v}{x},|已知{n}的{x},|想用{x}{v}{n},|{n}因为{x}而{a},|{n}需要{x}。|{n}涉及{x},
{m}的{n}列出了{x}。|大家不明白{x}。|{n}之后是{x}。|{a}的{n}与{x}有关。|书上讲{x},|{n}记着{x},|遇见{x}时,
{n}要了解{x}。
""")
# A sentence that has nothing to do with the question.
ENGLISH_NOISE = _alternatives("""
The {n} is {a}.|Our {n} was {a} today.|The {n} of the {m} is {a}.|I work with a {a} {n}.|Please note the {n}.
We have a {n} and a {m}.|Sent from the {n}.|The {n} costs {d}.|They {v} the {n}.|A {n} must {v} {d} of the {m}.
If the {n} is {d}:|While you {v} the {m},|When the {m} asks for the {n}:|To {v} a {n},
The {a} {n} came before the {m}.|No {n} is needed.|This is for the {n}.|In a {n}:|In the {m} of a {n}:|For a {a} {n}:
On the {n},|During a {n},|At the {m},
""")
CHINESE_NOISE = _alternatives("""
{n}是{d}。|{n}想{v}{m}。|{m}刚刚{v}了{n}。|为了{v}{n},|如果{n}{v}{m},|{n}{d},|准备{v}{m}的{n},|我家{n}{a},|{n}很{a}。
我们的{n}今天{a}。|{n}的{m}已经{a}。|我在做{n}。|请注意{n}。|我们有{n}和{m}。|来自{n}。|这是{n}用的。|在{n}中,
{n}的时候,|做{n}时,|{a}{n}里,
""")
