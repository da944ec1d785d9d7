"""Everyday words for the generated pretraining text, written for this project: single common words, no facts."""

from __future__ import annotations

# English and Chinese words of one meaning, "english=中文". An underscore stands for a space.
_PAIRS = """
water=水 river=河流 mountain=山 tree=树 flower=花 stone=石头 sand=沙子 sea=大海 lake=湖 island=岛 forest=森林
field=田野 road=道路 bridge=桥 house=房子 door=门 window=窗户 wall=墙 roof=屋顶 room=房间 garden=花园 kitchen=厨房
table=桌子 chair=椅子 bed=床 lamp=灯 book=书 paper=纸 letter=信 pen=笔 map=地图 picture=图片 page=页面 line=线
circle=圆 square=方形 point=点 number=数字 word=词语 name=名字 story=故事 song=歌曲 music=音乐 game=游戏 ball=球
toy=玩具 box=盒子 bag=包 bottle=瓶子 cup=杯子 plate=盘子 knife=刀 spoon=勺子 bread=面包 rice=米饭 meat=肉 fish=鱼
egg=鸡蛋 milk=牛奶 tea=茶 coffee=咖啡 sugar=糖 salt=盐 oil=油 fruit=水果 apple=苹果 orange=橙子 grape=葡萄
vegetable=蔬菜 potato=土豆 tomato=番茄 corn=玉米 bean=豆子 soup=汤 cake=蛋糕 animal=动物 dog=狗 cat=猫 horse=马 cow=牛
sheep=羊 pig=猪 bird=鸟 chicken=鸡 duck=鸭子 snake=蛇 tiger=老虎 lion=狮子 elephant=大象 monkey=猴子 rabbit=兔子
mouse=老鼠 bear=熊 wolf=狼 insect=昆虫 bee=蜜蜂 ant=蚂蚁 sun=太阳 moon=月亮 star=星星 sky=天空 cloud=云 rain=雨
snow=雪 wind=风 storm=暴风 fire=火 ice=冰 heat=热量 light=光 shadow=影子 color=颜色 red=红色 blue=蓝色 green=绿色
yellow=黄色 black=黑色 white=白色 brown=棕色 silver=银 gold=金 iron=铁 copper=铜 steel=钢 glass=玻璃 wood=木头
plastic=塑料 cotton=棉花 silk=丝绸 leather=皮革 rope=绳子 person=人 man=男人 woman=女人 child=孩子 baby=婴儿 boy=男孩
girl=女孩 father=父亲 mother=母亲 brother=兄弟 sister=姐妹 family=家庭 friend=朋友 teacher=老师 student=学生
doctor=医生 nurse=护士 worker=工人 farmer=农民 driver=司机 engineer=工程师 lawyer=律师 judge=法官 police=警察
soldier=士兵 artist=艺术家 writer=作家 singer=歌手 cook=厨师 manager=经理 owner=所有者 customer=客户 patient=患者
guest=客人 member=成员 leader=领导 team=团队 group=小组 company=公司 school=学校 hospital=医院 bank=银行 shop=商店
market=市场 factory=工厂 office=办公室 station=车站 airport=机场 hotel=酒店 library=图书馆 museum=博物馆 park=公园
city=城市 village=村庄 country=国家 world=世界 street=街道 car=汽车 bus=公交车 train=火车 ship=船 plane=飞机
bicycle=自行车 wheel=轮子 engine=发动机 machine=机器 tool=工具 computer=电脑 phone=电话 camera=相机 screen=屏幕
key=钥匙 lock=锁 clock=钟 bell=铃 time=时间 day=日子 night=夜晚 morning=早上 evening=晚上 week=星期 month=月份
year=年份 hour=小时 minute=分钟 second=秒 spring=春天 summer=夏天 autumn=秋天 winter=冬天 today=今天 tomorrow=明天
yesterday=昨天 money=钱 price=价格 cost=成本 value=价值 income=收入 profit=利润 loss=损失 debt=债务 loan=贷款
interest=利息 tax=税 asset=资产 capital=资本 account=账户 balance=余额 payment=付款 cash=现金 stock=股票 bond=债券
fund=基金 share=份额 risk=风险 return=回报 rate=比率 ratio=比例 percent=百分比 total=总额 average=平均 sum=总和
difference=差额 growth=增长 change=变化 increase=增加 decrease=减少 limit=限额 report=报告 statement=报表
contract=合同 rule=规则 law=法律 policy=政策 plan=计划 budget=预算 order=订单 goods=货物 service=服务 product=产品
quality=质量 quantity=数量 size=大小 weight=重量 length=长度 height=高度 width=宽度 depth=深度 speed=速度
distance=距离 area=面积 volume=体积 temperature=温度 pressure=压力 power=功率 energy=能量 force=力量 level=水平
standard=标准 test=测试 result=结果 cause=原因 effect=效果 problem=问题 answer=答案 question=疑问 method=方法
system=系统 process=过程 step=步骤 start=开始 end=结束 part=部分 whole=整体 center=中心 edge=边缘 top=顶部 bottom=底部
front=前面 back=后面 left=左边 right=右边 north=北方 south=南方 east=东方 west=西方 body=身体 head=头 face=脸 eye=眼睛
ear=耳朵 nose=鼻子 mouth=嘴 tooth=牙齿 hand=手 arm=手臂 finger=手指 leg=腿 foot=脚 heart=心脏 lung=肺 liver=肝脏
kidney=肾脏 stomach=胃 brain=大脑 bone=骨头 skin=皮肤 blood=血液 muscle=肌肉 nerve=神经 hair=头发 pain=疼痛 fever=发热
cough=咳嗽 disease=疾病 illness=病情 injury=损伤 wound=伤口 medicine=药物 tablet=药片 dose=剂量 injection=注射
treatment=治疗 surgery=手术 diagnosis=诊断 symptom=症状 history=病史 record=记录 infection=感染 allergy=过敏 diet=饮食
sleep=睡眠 exercise=运动 health=健康 care=护理 visit=就诊 ward=病房 discharge=出院 big=大 small=小 long=长 short=短
high=高 low=低 wide=宽 narrow=窄 thick=厚 thin=薄 heavy=重 fast=快 slow=慢 hot=热 cold=冷 warm=温暖 cool=凉爽 dry=干
wet=湿 clean=干净 dirty=脏 new=新 old=旧 young=年轻 good=好 bad=坏 strong=强 weak=弱 hard=硬 soft=软 full=满 empty=空
open=开放 closed=关闭 rich=富有 poor=贫穷 happy=高兴 sad=悲伤 angry=生气 quiet=安静 loud=响亮 bright=明亮 dark=黑暗
deep=深 simple=简单 complex=复杂 safe=安全 dangerous=危险 easy=容易 difficult=困难 early=早 late=晚 near=近 far=远
same=相同 different=不同 important=重要 possible=可能 necessary=必要 normal=正常 special=特别 public=公共 private=私人
real=真实 false=虚假 correct=正确 wrong=错误 free=自由 busy=忙碌 ready=准备 equal=相等 daily=每日 weekly=每周
monthly=每月 annual=年度 current=当前 fixed=固定 variable=可变 gross=毛额 net=净额 main=主要 minor=次要 first=首先
last=最后 go=去 come=来 walk=走 run=跑 sit=坐 stand=站 eat=吃 drink=喝 see=看 hear=听 speak=说 read=读 write=写
learn=学习 teach=教 work=工作 play=玩 buy=买 sell=卖 give=给 take=拿 send=发送 receive=收到 keep=保存 lose=丢失
find=找到 make=制作 build=建造 break=打破 fix=修理 wash=洗 cut=切 close=关 enter=进入 leave=离开 wait=等待 help=帮助
ask=询问 tell=告诉 know=知道 think=思考 remember=记住 forget=忘记 want=想要 need=需要 like=喜欢 love=爱 hate=讨厌
use=使用 move=移动 turn=转 push=推 pull=拉 carry=携带 hold=握住 throw=扔 catch=抓住 climb=爬 swim=游泳 fly=飞
dance=跳舞 sing=唱歌 laugh=笑 cry=哭 grow=成长 die=死亡 live=生活 win=赢 pay=支付 save=节省 spend=花费 borrow=借入
lend=借出 invest=投资 measure=测量 count=计数 add=加 subtract=减 multiply=乘 divide=除 compare=比较 check=检查
confirm=确认 approve=批准 refuse=拒绝 sign=签字 submit=提交 review=审核 protect=保护 control=控制 manage=管理
support=支持 improve=改善 reduce=降低 avoid=避免 stop=停止 continue=继续 prevent=预防 treat=处理 repeat=重复
explain=解释 describe=描述 choose=选择 decide=决定
"""

_NOUNS = """
access action activity address adult advance adviser age agency agent agreement air alarm amount analysis angle appeal
approach argument article aspect assembly assessment assignment assistant associate association assumption attention
attitude audience author authority background band bar barrier base basis basket battery beach beam behavior belief
belt benefit bill birth block board boat border boundary branch brand breath brick bucket building bulb bundle burden
bureau business button cabin cabinet cable calendar call camp campaign canal candle capacity captain carbon card
career cargo carpet carrier case castle category ceiling cell cement certificate chain chairman chamber chance channel
chapter character charge chart charter chief choice church circuit citizen claim class clause clay clerk client
climate clinic closing cloth club coal coast coat code coin collar collection college column comfort command comment
commission commitment committee community comparison competition complaint component concept concern conclusion
condition conference conflict connection consent consumer contact container content contest context contribution
conversion copy core corner corporation correction council counter couple course court cover coverage cream creation
credit crew crisis crop cross crowd crown culture cup currency curve custom cycle damage danger data date deal death
decade decision default defense deficit degree delay delivery demand department deposit depreciation design desk
detail development device dialogue diameter dinner direction director disclosure discount discovery discussion dish
disorder display district dividend division document dollar domain dome draft drawer dream dress drift drill drop drug
duration dust duty earnings earth echo economy edition editor education effort election element emergency emotion
employee employer entity entry environment equation equipment equity error escape estate estimate event evidence exam
example exception exchange expansion expense expert exposure extension extent fabric factor failure faith fall fault
feature fee feedback fence fiber figure file film filter finance finding firm flag flame flash flight float floor flow
fluid focus folder force form formula foundation frame framework freedom frequency fuel function furniture future gap
gate gauge gear gender generation gift glove goal grade grain graph grass grid ground growth guarantee guard guide
habit hall hammer handle harbor harm harvest hat hazard heading heating hedge helmet hill hole holiday honey hook
horizon host household hunger husband idea identity image impact import impulse inch incident index indicator industry
inflation information initiative inlet input inquiry insert inspection instance institution instrument insurance
intake intensity intent invoice issue item jacket job joint journal journey judgment juice junction jury justice
keeper kernel kettle kit knee knot knowledge label labor ladder land landscape language laser launch layer lead leaf
league lease lecture lens lesson liability license lid life lift link liquid list liquidity location log logic loop
lot luck lunch magazine mail maintenance majority manual margin mark mask mass master match material matter maturity
maximum meal meaning measurement mechanism media median meeting memory mention menu merchant message metal meter
minimum minority mirror mission mistake mixture mode model module moment monitor mood mortgage motion motor movement
nation nature neck needle negative neighbor nest network news node noise note notice notion novel object objective
obligation observation occasion ocean offer officer onset opening operation operator opinion option organ origin
outcome outlet output outline outlook oven overdraft overview oxygen pack package packet paint pair palace pan panel
paragraph parent partner party pass passage passenger password past patch path pattern peak penalty pension period
permit phase phrase piece pile pilot pin pipe pitch place plant platform pocket poem pole pool population port
portfolio portion position positive possession post potential pound practice premium presence present president press
principal principle print priority prize probability procedure production profession program progress project promise
promotion proof property proportion proposal provision pulse pump purchase purpose purse quarter queen quote race rack
radio rail range rank rating reaction reader reason receipt receiver recovery reduction reference reform refund region
register regulation rejection relation release relief remedy removal rent repair replacement reply request rescue
reserve residence resistance resource response rest restriction retention revenue reward rhythm ring rise rival rock
rod role root rotation round route routine row rush sail salary sale sample satellite scale scan scene schedule scheme
science scope score seal search season seat section sector security seed segment selection seller seminar sense sensor
sentence sequence series session set settlement shade shaft shape shed sheet shelf shell shelter shift shirt shock
shoe shore shot shoulder shower side signal signature silence site situation skill sleeve slice slide slope smell
smile smoke society software soil solution sort sound source space spare speaker species speech sphere spirit split
sport spot spread square stability staff stage stair stake stamp statistics status steam stem stick stomach storage
store strain strategy stream strength stress stretch string strip stroke structure studio study style subject
submission substance success suit supplier supply surface surplus survey suspension switch symbol table tail talent
tank tape target task taste team technique technology tendency tenant term terminal territory text theme theory thread
threat threshold throat ticket tide tie timber tissue title tone tongue topic touch tour tower town track trade
tradition traffic trail transaction transfer transition transport trap travel treaty trend trial trick trip trouble
truck trunk trust truth tube tunnel turnover twist type unit universe update upgrade usage user utility vacation
valley valve variance variety vehicle vein vendor venture version vessel video view virus vision vote voyage wage
warehouse warning waste watch wave wealth weapon weather web wedding width wing winner wire witness wool workshop
worth yard yield youth zone
"""

_ADJECTIVES = """
able absolute abstract academic active actual acute additional adequate adverse alert alternative ancient apparent
appropriate automatic available aware basic beneficial bitter blind bold brave brief broad calm capable careful cheap
chemical chronic civil classic clear clinical common competent complete constant cost-free crucial curious daily dead
dear decent delicate dense digital diluted direct distant domestic double dual eager effective elastic electric
elderly eligible equal essential exact excess existing external extra extreme fair familiar famous federal final
financial firm flat flexible foreign formal forward fresh frozen future general gentle genuine giant global grand gray
guilty hidden historic hollow honest huge human ideal illegal immediate inner innocent instant intact intense interim
internal invisible joint junior key large lasting latent lateral legal liquid literal local logical loose lower lucky
major manual marginal maximum mean mechanical medical mental mild minimum missing mixed mobile moderate modern moral
multiple mutual narrow native natural neat negative nervous neutral noble nominal notable novel nuclear obvious odd
official operating optional oral ordinary organic outer overall parallel partial past peaceful permanent personal
physical plain pleasant polite popular positive precise pregnant previous primary prior probable proper proud pure
quick random rapid rare raw recent regional regular related relative relevant reliable remote residual reverse rigid
rough round royal rural secondary secret senior sensitive separate serious severe sharp silent similar single slight
smooth social solid spare specific stable static steady steep strict subsequent sudden sufficient suitable sweet
systemic tall technical temporary tender tidy tight tiny total toxic transparent typical ultimate uniform unique
universal unusual upper urban urgent useful usual vague valid vast vertical visible vital voluntary weighted
widespread wild wise working yearly
"""

_VERBS = """
accept achieve adapt adjust admit adopt advise agree aim allow amend announce apply arrange arrive assess assign
assume attach attend balance become begin belong bend bind blend boil bring burn calculate cancel cease charge claim
classify clear collect combine complete conduct connect consider contain convert copy correct cover create cross
damage defend define delay deliver demand deny depend deposit derive detect determine develop direct disclose discover
display dispose distribute document double drag draw drive drop earn elevate employ encourage engage ensure equip
estimate evaluate examine exceed exchange exclude exist expand expect export express extend fail feed fill finish fit
flow fold follow force form freeze gain gather generate grant greet guarantee handle hang happen hide hire identify
ignore illustrate imagine imply import include indicate influence inform inspect install intend introduce involve
isolate issue join jump justify kick knock label land launch lay lift link list load locate maintain mark melt mention
merge mix monitor observe obtain occur offer operate oppose organize originate overcome pack paint participate pass
perform permit pick place plant point pour predict prefer prepare prescribe present preserve press print proceed
process produce promote propose prove provide publish purchase qualify raise range reach react realize recall
recognize recommend recover reflect regard register regulate relate release rely remain remove repair replace reply
represent require resolve respond restore restrict retain retire reveal reverse roll satisfy scan schedule seal search
secure select separate serve settle shake shape shift shut slide solve sort split spread state stay stick store
stretch strike study succeed suffer suggest suit supply suppose surround suspend sustain switch tend test touch trace
track trade train transfer transform translate transmit trap travel trust try unite update vary verify view warn watch
wear weigh withdraw wonder wrap yield
"""

_FUNCTION = """
a an the of in on at by for from to with without within into over under above below between among across through
during before after since until against about around beyond beside behind along per as than and or but nor so yet if
then else because although while when where who whom whose which what why how that this these those it its he him his
she her they them their we us our you your i me my is are was were be been being am do does did done have has had
having will would shall should can could may might must not no yes all any both each every either neither some many
much more most few fewer less least several one two three four five six seven eight nine ten eleven twelve twenty
thirty forty fifty hundred thousand million once twice again also only just even still already always often never
sometimes usually rarely soon later now here there very too quite rather almost about approximately minus plus times
divided multiplied equals according instead however therefore please thanks hello mr mrs ms dr briefly exactly shortly
full stands means called known used
"""

_CHINESE = """
客户 患者 先生 女士 来电 询问 请问 说明 回答 简述 全称 简称 缩写 公式 定义 含义 意思 代表 表示 是指 指标 单位 编码
代码 用途 作用 类别 类型 属于 通常 一般 一次 每天 每日 两次 三次 四次 饭前 饭后 睡前 口服 静脉 肌肉 皮下 毫克 毫升
公斤 千克 体重 血压 血糖 心率 体温 呼吸 脉搏 检查 化验 门诊 急诊 住院 复诊 医嘱 处方 病历 护士 科室 慢性 急性 高血压
糖尿病 肺炎 哮喘 骨折 肿瘤 贫血 感冒 头痛 头晕 恶心 呕吐 腹泻 便秘 水肿 皮疹 出血 炎症 综合征 抗生素 疫苗 手术 麻醉
康复 随访 禁忌 副作用 负债 权益 所有者 股东 净利润 毛利 营业 费用 折旧 摊销 现金流 流动 固定 长期 短期 存货 应收 应付
账款 票据 利率 汇率 收益率 市值 市场 股价 股息 分红 期权 期货 掉期 信用 违约 流动性 波动 敞口 对冲 保证金 抵押 担保
评级 披露 审计 监管 合规 年报 季报 公告 附注 内部 控制 关联 交易 会计 准则 资金 投资者 保险 信托 理财 存款 取款 转账
汇款 手续费 账单 除以 乘以 加上 减去 等于 大于 小于 不超过 至少 最多 占比 比率 比例 倍数 次数 天数 总额 净额 平均 期初
期末 年度 季度 月度 第一 第二 第三 以上 以下 之间 之前 之后 以内 以外 北京 上海 广州 城市 学院 大学 中学 小学 机构
部门 委员会 协会 中心 办公室 政府 企业 单位 个人 家属 同事 员工 主管 专家 顾问 代理 用户 系统 软件 网络 数据 文件 表格
名单 编号 怎么 什么 哪个 哪些 哪里 多少 几个 为何 如何 何时 是否 可以 需要 应该 必须 不能 已经 正在 可能 因为 所以
但是 如果 或者 以及 并且 关于 对于 根据 按照 通过 由于 其中 其他 有关 重新 继续 保留 删除 增强 下降 上升 稳定 变动
计算 估计 预测 衡量 反映 评估 判断 识别 分析 比较 统计 汇总 分类 登记 申请 审批 发放 收取 归还 到期 逾期 延期 终止
生效 执行 履行 责任 义务 权利 条款 条件 范围 期限 金额 数额 日期 地址 姓名 性别 年龄 电话 邮箱 证件 号码 密码 验证
授权 登录 退出 咖啡馆 图书 汽车站 火车票 飞机票 天气 阳光 下雨 空气 河水 桌面 椅背 书架 花瓶 草地 树林 山坡 海岸 沙滩
小路 大桥 高楼 广场 超市 食堂 宿舍 教室 操场 邻居 亲戚 早餐 午餐 晚餐 面条 饺子 豆腐 白菜 萝卜 香蕉 西瓜 桃子 梨子
红茶 绿茶 牛肉 羊肉
"""

# Frequent characters, then the rest of GB2312 level 1 through Python's codec (see `world.py`).
COMMON_CHARACTERS = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定"
    "行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其"
    "些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建"
    "月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接"
    "知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器"
    "压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议"
    "声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复"
    "容儿须际商非验连断深难近矿千周委素技备半办青省列习响约支般史感劳便团往酸历市克何除消构府称太准精值号率族维划选标"
    "写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价严首底液官德随"
    "病苏失尔死讲配女黄推显谈罪神艺呢席含企望密批营项防举球英氧势告李台落木帮轮破亚师围注远字材排供河态封另施减树溶怎"
    "止案言士均武固叶鱼波视仅费紧爱左章早朝害续轻服试食充兵源判护司足某练差致板田降黑犯负击范继兴似余坚曲输修故城夫够"
    "送笔船占右财吃富春职觉汉画功巴跟虽杂飞检吸助升阳互初创抗考投坏策古径换未跑留钢曾端责站简述钱副尽帝射草冲承独令限"
    "阿宣环双请超微让控州良轴找否纪益依优顶础载倒房突坐粉敌略客袁冷胜绝析块剂测丝协诉念陈仍罗盐友洋错苦夜刑移频逐靠混"
    "母短皮终聚汽村云哪既距卫停烈央察烧迅境若印洲刻括激孔搞甚室待核校散侵吧甲游久菜味旧模湖货损预阻毫普稳乙妈植息扩银"
    "语挥酒守拿序纸医缺雨吗针刘啊急唱误训愿审附获茶鲜粮斤孩脱硫肥善龙演父渐血欢械掌歌沙刚攻谓盾讨晚粒乱燃矛乎杀药宁鲁"
    "贵钟煤读班伯香介迫句丰培握兰担弦蛋沉假穿执答乐谁顺烟缩征脸喜松脚困异免背星福买染井概慢怕磁倍祖皇促静补评翻肉践尼"
    "衣宽扬棉希伤操垂秋宜氢套督振架亮末宪庆编牛触映雷销诗座居抓裂胞呼娘景威绿晶厚盟衡鸡孙延危胶屋乡临陆顾掉呀灯岁措束"
    "耐剧玉赵跳哥季课凯胡额款绍卷齐伟蒸殖永宗苗川炉岩弱零杨奏沿露杆探滑镇饭浓航怀赶库夺伊灵税途灭赛归召鼓播盘裁险康唯"
    "录菌纯借糖盖横符私努堂域枪润幅哈竟熟虫泽脑壤碳欧遍侧寨敢彻虑斜薄庭纳弹饲伸折麦湿暗荷瓦塞床筑恶户访塔奇透梁刀旋迹"
    "卡氯遇份毒泥退洗摆灰彩卖耗夏择忙铜献硬予繁圈雪函亦抽篇阵阴丁尺追堆雄迎泛爸楼避谋吨野猪旗累偏典馆索秦脂潮爷豆忽托"
    "惊塑遗愈朱替纤粗倾尚痛楚谢奋购磨君池旁碎骨监捕弟暴割贯殊释词亡壁顿宝午尘闻揭炮残冬桥妇警综招吴付浮遭徐您摇谷赞箱"
    "隔订男吹园纷唐败宋玻巨耕坦荣闭湾键凡驻锅救恩剥凝碱齿截炼麻纺禁废盛版缓净睛昌婚涉筒嘴插岸朗庄街藏姑贸腐奴啦惯乘伙"
    "恢匀纱扎辩耳彪臣亿璃抵脉秀萨俄网舞店喷纵寸汗挂洪贺闪柬爆烯津稻墙软勇像滚厘蒙芳肯坡柱荡腿仪旅尾轧冰贡登黎削钻勒逃"
    "障氨郭峰币港伏轨亩毕擦莫刺浪秘援株健售股岛甘泡睡童铸汤阀休汇舍牧绕炸哲磷绩朋淡尖启陷柴呈徒颜泪稍忘泵蓝拖洞授镜辛"
    "壮锋贫虚弯摩泰幼廷尊窗纲弄隶疑氏宫姐震瑞怪尤琴循描膜违夹腰缘珠穷森枝竹沟催绳忆邦剩幸浆栏拥牙贮礼滤钠纹罢拍咱喊袖"
    "埃勤罚焦潜伍墨欲缝姓刊饱仿奖铝鬼丽跨默挖链扫喝袋炭污幕诸弧励梅奶洁灾舟鉴苯讼抱毁懂寒智埔寄届跃渡挑丹艰贝碰拔爹戴"
    "码梦芽熔赤渔哭敬颗奔铅仲虎稀妹乏珍申桌遵允"
)

_PLACEHOLDERS = """
PERSON EMAIL_ADDRESS PHONE_NUMBER CREDIT_CARD IBAN_CODE US_SSN US_BANK_NUMBER ABA_ROUTING_NUMBER CVV IP_ADDRESS URL
DATE_OF_BIRTH STREET_ADDRESS US_PASSPORT CN_RESIDENT_ID CN_BANK_CARD MEDICAL_RECORD_NUMBER HEALTH_PLAN_NUMBER US_NPI
DEA_NUMBER DEVICE_SERIAL VEHICLE_PLATE US_ITIN CN_CREDIT_CODE SWIFT_CODE CRYPTO AGE_OVER_89 LOCATION ORGANIZATION
DATE_TIME NRP US_DRIVER_LICENSE US_ZIP_CODE
"""

PAIRS: list[tuple[str, str]] = [tuple(p.replace("_", " ").split("=", 1)) for p in _PAIRS.split()]  # type: ignore[misc]
NOUNS: list[str] = sorted(set(_NOUNS.split()))
ADJECTIVES: list[str] = sorted(set(_ADJECTIVES.split()))
VERBS: list[str] = sorted(set(_VERBS.split()))
FUNCTION_WORDS: list[str] = sorted(set(_FUNCTION.split()))
CHINESE_WORDS: list[str] = sorted(set(_CHINESE.split()) | {chinese for _, chinese in PAIRS})
ENGLISH_WORDS: list[str] = sorted({*NOUNS, *ADJECTIVES, *VERBS, *FUNCTION_WORDS, *(english for english, _ in PAIRS)})
# The kinds of personal data that Presidio and its users write as <KIND>.
PLACEHOLDERS: list[str] = _PLACEHOLDERS.split()
