"""Common names, for finding persons: written down for this project from general knowledge of the languages.

Words that are more often something else (Will, May, Grace period's second word …) are handled by STOP_WORDS or left out.
"""

from __future__ import annotations

GIVEN_NAMES = frozenset(
    # English, Irish, Scottish, Welsh
    """
    aaron abigail adam adrian aidan alan albert alex alexander alexandra alexis alfred alice alicia alison allison alyssa amanda
    amber amelia amy andrew angela angus ann anna anne annie anthony antonia archie arthur ashley audrey austin ava barbara barry
    beatrice becky ben benjamin bernard beth bethany betty beverly bob bonnie bradley brandon brenda brendan brian bridget brittany
    bronwyn bruce bryan caitlin callum calvin cameron carl carol caroline carolyn carter catherine cathy cecilia charles charlie
    charlotte chelsea cheryl chloe chris christina christine christopher ciara cindy claire clara clark clive colin connor craig
    crystal cynthia daisy dale damian daniel danielle darren daryl dave david dean deborah debra declan denise dennis derek diana
    diane dominic donald donna doris dorothy douglas duncan dylan eamon edith edmund edward eileen eleanor elizabeth ella ellen
    ellie elsie emily emma eric erica erin ethan eugene eva evan evelyn felicity finn fiona florence frances francis frank fred
    freddie frederick gabriel gail gareth gary gavin gemma geoffrey george georgia gerald geraldine gillian glenn gloria gordon grace
    graham greg gregory gwen hannah harold harriet harry harvey hazel heather hector helen helena henry holly howard hugh hugo ian
    imogen irene isaac isabel isabella isabelle isla ivan ivy jack jackie jacob jacqueline jade jake james jamie jane janet janice
    jared jasmine jason jean jeff jeffrey jemma jennifer jenny jeremy jerry jesse jessica jill jim jimmy joan joanna joanne joe joel
    john johnny jonathan joseph josephine josh joshua joyce juan judith judy julia julian julie justin karen kate katherine
    kathleen kathryn kathy katie kayla keith kelly ken kenneth kerry kevin kieran kim kimberly kirsten kyle lachlan larry laura
    lauren laurence lawrence leah lee leon leonard leslie lewis liam lillian lily linda lindsay lisa logan lois lorraine louis
    louise lucas lucy luke lydia lynn mabel madeleine madison malcolm margaret maria marian marie marilyn marion marjorie mark
    marlene martha martin marvin mary mason matthew maureen maurice max megan melanie melissa mia michael michelle mike mildred
    millie molly monica morag muriel myra nancy naomi natalie natasha nathan neil nellie niamh nicholas nicola nicole nigel nina
    noah noel nora norma norman oliver olivia oscar owen pamela patricia patrick paul paula pauline peggy peter philip phillip
    phoebe phyllis poppy quentin rachel ralph randall randy raymond rebecca reginald rhys richard rita robert robin rodney roger
    ronald rory rosalind rosemary ross roy russell ruth ryan sally sam samantha samuel sandra sarah saoirse scott sean seamus
    sebastian seth shane shannon sharon shaun sheila shirley sian siobhan sophia sophie spencer stacey stanley stella stephanie
    stephen steve steven stewart stuart susan suzanne sylvia tara taylor teresa terence terry theodore theresa thomas tiffany tim
    timothy tina toby todd tom tony tracey tracy travis trevor tristan tyler valerie vanessa vera veronica victor vincent violet
    virginia vivian walter wanda warren wayne wendy wesley wilfred william winifred yvonne zachary zara zoe
    """.split()
    # French, Spanish, Portuguese, Italian, German, Dutch, Nordic
    + """
    adele alain alessandro alfonso alejandra alejandro alvaro amelie ana anders andre andrea andreas angelica anita anja annika
    antoine antonio armando arnaud arturo astrid axel beatriz bianca birgit bjorn björn bruno camila camille carla carlos carmen
    catalina cecile chiara christian christoph claudia claudio clemens clement cristina dario delphine didier diego dieter dirk
    edouard eduardo elena elias elise elisa elke emilia emilio emmanuel enrique enzo erik ernesto esteban etienne fabian fabio
    federico felipe felix fernanda fernando florian francesca francesco francisco francois françois franz freja friedrich frida
    gabriela genevieve gerhard giorgio giovanni giulia giuseppe gonzalo guido guillaume guillermo gunnar gustavo hans hans-peter
    heidi heinrich helga henrik hilde horst ignacio inge ingrid isidro jaime jan javier joao joão joaquin joost jorge jose josé
    josef juana juergen jürgen julien julio jutta karin karl kasper katja katrin klaus kristina kristoffer lars laurent leonardo
    leticia lorena lorenzo luca lucia luciana lucien luigi luis luisa magnus manuel marcel marcelo marco marcos marcus margarita
    mariana mariano marie-claire mario marisol markus marta mateo mathieu matteo matthias mattias mauricio mercedes miguel mikkel
    monique nadine nicolas nicolau niels nils olaf ole ona oscar pablo paloma paola paolo pascal patricio pedro peer per petra
    philippe pierre pieter pilar rafael rainer ramon raul regina reinhard renata renate rene rené ricardo roberto rocio rodrigo
    rogelio rosa rosario rüdiger ruben sabine salvador santiago sara sergio sigrid silvia simon simone sofia solveig soren søren
    stefan stefania stefano sven sylvie thiago thierry thomas tobias torsten ulf ulrich ulrike ursula uwe valentina valentino
    adriana alba alessia alfredo alicja amadeo aurelie aurora benedetta berta blanca brigitte cecilie celeste celia cesar chantal
    claude colette concepcion consuelo corinne cristian cristobal cristobal damien dolores domenico dominique eloise emanuele
    emiliano ernst esperanza estela etta eugenia eugenio eva fabienne fabrizio fatoumata ferdinand fiorella flavia flavio fleur
    franziska françoise fritz gaston georg georges gerard gerda gertrude gilberto gilles gino gisela giuliana greta gretchen
    guadalupe gudrun guy hannelore hannes hector hedwig hermann hortense ilse ines inés inês irma isadora isaias isolde jacinta
    jacques jean-luc jean-marc jean-pierre jens joachim joana johan johann johanna johannes josefina juliane juliette kai karsten
    kerstin konrad lea leandro leif lena leopold lidia lieke lorenza lothar lotte ludovic ludwig luz maarten macarena magali maite
    manfred manuela marcela margaux margot maribel mariella marisa marit marlies matilde maurizio maxime merete michele mireille
    moritz nerea nico nils-erik noelia norbert nuria octavio odile olivier ottavia otto pascale patrizia pia piero pietro raimundo
    ralf ramiro raphael regine remi rémi ricarda roland romain rosalia rosana rosella rosalba rui rupert sabrina salvatore sandro
    saskia serena severin sieglinde sophia stéphane susana susanne sybille teodoro thea thibault tiago tomás torben trine ute
    valeria veit vera vilma viviana walther wiebke willem xenia yolanda yvette
    victoria vicente vincenzo vittorio werner wilhelm wolfgang xavier ximena yannick yves
    """.split()
    # Slavic, Baltic, Greek, Hungarian, Romanian, Turkish
    + """
    agnieszka ahmet aleksander aleksandr alexei alexey alina anastasia andrei andrej andrzej anatoly ayse ayşe barbora bogdan boris
    bozena branko burak bulent can cem danuta darko dimitri dimitris dmitri dmitry dragan dusan ekaterina elif emre eleni eszter
    fatma feliks galina georgi georgios goran grzegorz gyorgy halina hakan hasan hristo huseyin ibrahim igor ilya ioana ion irina
    ivana ivo jakub janos jana jaroslav jelena jerzy jiri joanna jozef kamil kasia katarina katarzyna katya kemal kostas krzysztof
    ksenia laszlo lenka leyla ludmila lukas lyudmila maciej magda magdalena malgorzata marek marija marina marko mehmet mihai milan
    milena milica mirjana miroslav mustafa nadezhda natalia natalya nikita nikola nikolai nikos oksana oleg oleksandr olga ondrej
    osman pavel pawel petr piotr predrag radek radoslav roman ruslan serap sergei sergey serkan slavko snezana sona stanislav
    svetlana szymon tamara tatiana tatyana tomas tomasz vaclav valentin vasily veronika viktor viktoria vladimir vladislav vlad
    volodymyr wojciech yelena yulia yuri yusuf zbigniew zdenek zeynep zofia zoltan zuzana
    """.split()
    # Arabic, Persian, Hebrew
    + """
    abdul abdullah abdulrahman adel ahmad ahmed aisha ali alireza amal amina amir amira anwar arash ariel aryeh avi ayman aziza
    bashir bilal chaim daoud dariush david dina eitan eli elham faisal farah farid fariha fatema fatima fatimah habib hadi hala
    hamid hamza hana hanan hassan hisham huda hussein iman ismail jamal jamila kamal karim khadija khaled khalid laila layla leila
    maha mahmoud malik mansour maryam mehdi miriam mohamad mohamed mohammad mohammed mona moshe muhammad mustapha nabil nadia nasser
    nasrin noa noor nour noura omar omid osama parisa rachid rami rania rashid reza rivka ronit saeed said salim salma samir samira
    sami sana shadi shahin shira shirin soraya tamar tariq tarek walid wafa yael yaakov yasmin yasmine yehuda yitzhak yosef younes
    youssef yousef zahra zainab zeinab ziad
    """.split()
    # South Asia
    + """
    aarav abhishek aditi aditya ajay akash amit amita amrita anand ananya anil anita anjali ankit ansh anupam aparna arjun arun
    arvind asha ashish ashok ashwin bhavna chandra charu deepa deepak deepika devika dinesh divya farhan gaurav gauri geeta gopal
    govind gurpreet hardeep harish harpreet imran indira ishaan jaspreet jaya jyoti kabir kalpana karan karthik kavita kavitha
    keerthi kiran kishore krishna kunal lakshmi lalit lata madhav mahesh manish manoj maya meena meera mohan mohit mukesh nandini
    naveen neeraj neha nikhil nisha nitin padma pankaj pooja pradeep prakash pranav prasad preeti priya priyanka radha raghav rahul
    raj rajesh rajiv raju rakesh ram ramesh rani ravi rekha rohan rohit roshan rupa sachin sahil sandeep sangeeta sanjay sanjeev
    santosh sarita seema shalini shankar shanti sharmila shashi shilpa shivani shreya shruti siddharth sita smita sneha sonali sonia
    sridhar srinivas subhash sudha sumit sunil sunita suresh sushila swati tanvi tejas uma usha varun venkatesh vidya vijay vikas
    vikram vinay vinod vishal vivek yash yogesh zainul
    """.split()
    # Sub-Saharan Africa
    + """
    abebe abena abiola abiodun achieng adaeze adama adanna adebayo adeola adwoa akua akosua ama amadou amara amina aminata ayo
    ayodele babatunde bongani chiamaka chidi chidinma chike chinedu chinonso chioma chukwuemeka dikembe ebele efua ekow emeka esi
    fatou femi folake folasade funmilayo gift ifeoma ikechukwu jabulani kagiso kamau kofi kojo kwabena kwame kwasi lerato lindiwe
    lwazi makena mamadou mandla modou moussa mpho nana naledi ngozi nia njeri nkechi nneka nomsa nokuthula ngugi obinna oluwaseun
    olumide oumar ousmane palesa refilwe sade sekou seun sibusiso sipho siyabonga tendai thabo thandi thandiwe themba temitope
    tunde uche wanjiku wangari yaa yaw yetunde zanele zodwa zola
    """.split()
    # East and South-East Asia
    + """
    aiko aisyah akira anh asuka ayaka ayumi bao binh bong budi chanh chau cheng cuong dae-jung daiki daisuke dewi dinh dung duong
    emiko eun-ji fumiko haruki haruka haruto hana hideo hien hiroko hiroshi hoa hoang huong hye-jin hyun indah jiho jihoon ji-hoon
    jin-woo jisoo jiwoo joko kaito kaori kazuki keiko kenji kenta khanh kyung lan lin linh long-hai mai makoto mariko masako mei
    meiling mei-ling michiko midori min-jun minh minho naoko naoki nguyet nhung nobu noriko phuong priyono putri quang quynh rizal
    ryo ryota sakura sang-hoon sari satoshi seo-yeon setiawan shigeru shinji siti soo-jin sora sumiko sung-min susilo takashi
    takeshi tatsuya thanh thao thuy thi toshiro trang trinh tuan tuyet van wati wayan wen xiaoming xiaoli xin xiu yan yasuko yen
    yoko yoshi yui yuki yuko yumi yuna yuriko yuto ying jing jun juan-carlos hui hong wei fang na min qiang lei jie
    """.split()
)

# Surnames in pinyin that are no English words: they come first in Chinese names written in Latin letters.
PINYIN_SURNAMES = frozenset(
    """
    bai cai cao chen cheng cui deng ding dong fang feng gao gong gu guo han hou hu huang jia jiang jin kong lei li liang liao lin liu
    lu luo lyu ma mao meng ouyang pan peng qian qin qiu ren shen shi sima song su sun tan tang tao tian wang wei wu xia xiao xie
    xiong xu xue yan yang yao ye yin yu yuan zeng zhang zhao zheng zhong zhou zhu zhuge zou
    """.split()
)

# Capitalized words that are no part of a name: they end one, and two of them after "customer" are a term.
STOP_WORDS = frozenset(
    """
    a about access account accounts accounting act address advance advice advisor agency agreement all an analysis and annual answer
    any applicant are as asks asset assets assistance assurance at authority balance bank banker banking basel basis bill bills
    board bond bonds book borrower branch budget bureau business call calls can capital card care case cash center central centre
    certificate charge chart check claim claims class client clinic clinical code codes coding college commission committee common
    company compliance compute conduct consumer contract control convert corporation corporate cost council coverage credit crisis
    customer customers data date day days deal debt define delivery demand department deposit derivative describe design desk
    detection diagnosis did directive disclosure discharge disease district dividend do doctor does dose drug due e earnings education
    effect emergency employee employer engagement equity european exchange exemption expand expense experience explain exposure
    facility fair family federal fee fees file filing finance financial find first flow for form formula fraud free from fund funds
    future give given group growth guarantee guide has have he health hello her hi his history home hospital house how i id identify
    identification identity if impact in inc income index indicator indicators infection information initiative insurance interest
    international intervention investment investor is issuer it its journal know lab law leave ledger lender level liability life
    limit limited line list loan ltd management manager margin market markets med medical medicare medication member members mental
    method money monitoring month most my name national net new no note notes number nurse of office officer on operating operation
    opinion option order organization our outcome outcomes overview owner page paid passport patient patients pay payer payment
    period phone physician plan please plus pm policy pool portal portfolio premium price prime principle principles privacy
    procedure product profit program project protection provider public purchase quality question questionnaire rate ratio ratios
    reference referral regards register registration regulation relations relationship report reporting request requirement
    requirements reserve retention return returns review rights risk rule rules safety sale sales satisfaction savings scale schedule
    school score screening second section secrecy securities security send service services share shares sheet show sincerely social
    society solution source spell standard standards state statement states stock street strategy study subject suitability
    summary support surgery survey system tax team tell term terms test thank thanks that the their theorem theory there third this
    tier to today trade trading transaction transfer treasury treatment trial trust type under unit united university update us user
    valuation value view visitor ward was we wealth week what when where which who whom why will with workflow write year yes you your
    """.split()
)

# By frequency in the national statistics of surnames; function words such as 应 向 时 全 are left out.
CHINESE_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许邓韩冯曹彭曾肖萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆"
    "汪范金石廖贾夏韦付傅方白邹孟熊秦邱江尹薛闫阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔汤庞樊兰殷施洪翟安颜倪温芦牛葛"
    "章鲁季俞毕岳齐伍尤柯柳祝纪聂辛骆焦左翁管欧甘柴祁宁詹尚舒梅凌涂游包屈阮霍喻盛裴席路蒲辜谷项邢卓耿冉阳伏丛关艾苗沙"
    "褚佟栾盖连车窦滕闵隋窦嵇娄桑冼岑麦池"
)
CHINESE_COMPOUND_SURNAMES = (
    "欧阳 上官 司马 诸葛 司徒 东方 独孤 南宫 夏侯 皇甫 尉迟 公孙 慕容 令狐 长孙 宇文 轩辕 端木 百里 呼延 东郭 西门 申屠 "
    "太史 闻人 濮阳 淳于 澹台 公冶 宗政 单于 仲孙 钟离 鲜于 闾丘 完颜 赫连 拓跋 纳兰 耶律"
).split()

# Words that begin like a name ("高血压", "方法", "于到期日"): what follows a role is then no name.
CHINESE_STOP_WORDS = (
    "高血|高热|高危|高龄|高级|高风|高管|高净|高钾|高脂|高尿|高烧|高额|高于|余额|金额|金融|方便|方可|方式|方法|方案|方面|方向|方能|何时|"
    "何种|何地|何处|何人|黄疸|黄金|白细|白天|白蛋|白血|白内|钱款|安全|安排|安装|安静|温度|汤药|毛利|毛发|江苏|江西|关于|关系|关注|关心|"
    "关节|管理|管道|项目|尤其|左侧|左心|左手|左右|许可|路径|范围|包括|包含|金属|石膏|马上|万元|严重|严格|连续|连接|段落|莫名|游离|"
    "盖章|车辆|车牌|车险|兰州|武汉|宁波|苏州|杨氏|马氏|周期|周转|周末|周一|周二|周三|周四|周五|周六|周日|任何|任务|任意|"
    "于到|于次|于当|于每|于本|于贷|于入|于出|于术|于今|于昨|于是|施行|常见|欧洲|欧元|席位|尚未|尚有|"
    "阳性|阳光|程度|程序|成人|平均|计划|盛行|夏季|季度|史料|左室|连带|付款|付费|付息|付给|付清|付出|曾经|曾有|曾用|曾在|曾患|"
    "沈阳|洛阳|毕业|梅毒|牛市|牛奶|石油|龙头|金标|叶酸|严禁|伏案|游客|路由|管床|管理|顾客|顾问|安慰|项下|宁愿"
)
