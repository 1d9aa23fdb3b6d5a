"""The words of the demo model's language: every attribute's names in English and in Chinese."""

ENGLISH = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white",),
    "black": ("black",),
    "brown": ("brown", "chocolate"),
    "circle": ("circle", "disc", "disk", "dot", "ball", "sphere", "circles"),
    "square": ("square", "box", "block", "squares"),
    "triangle": ("triangle", "triangles"),
    "star": ("star", "stars", "pentagram"),
    "heart": ("heart", "hearts"),
    "ring": ("ring", "donut", "doughnut", "hoop", "rings"),
    "cross": ("cross", "plus", "crosses", "plus sign"),
    "diamond": ("diamond", "rhombus", "lozenge", "diamonds"),
    "small": ("small", "little", "tiny", "mini"),
    "medium": ("medium", "medium-sized", "mid-sized"),
    "large": ("large", "big", "huge", "giant", "enormous"),
}
CHINESE = {
    "red": ("红色", "红"),
    "orange": ("橙色", "橙", "橘色", "橘黄色", "橘红色"),
    "yellow": ("黄色", "黄", "金色"),
    "green": ("绿色", "绿"),
    "blue": ("蓝色", "蓝"),
    "purple": ("紫色", "紫"),
    "pink": ("粉色", "粉红色", "粉红", "粉", "桃色"),
    "white": ("白色", "白"),
    "black": ("黑色", "黑"),
    "brown": ("棕色", "棕", "褐色", "咖啡色"),
    "circle": ("圆形", "圆", "圆圈", "圆点", "圆球", "球"),
    "square": ("正方形", "方块", "方形", "四方形"),
    "triangle": ("三角形", "三角"),
    "star": ("五角星", "星星", "星形", "星"),
    "heart": ("爱心", "心形", "桃心", "心"),
    "ring": ("圆环", "环形", "环", "圈"),
    "cross": ("十字", "十字形", "加号", "十字架"),
    "diamond": ("菱形", "钻石"),
    "small": ("小", "小小", "很小", "小型", "微小"),
    "medium": ("中等", "中等大小", "中型", "中号"),
    "large": ("大", "大大", "很大", "巨大", "大型"),
}
ENGLISH_PLACES = {
    "centre": (
        "in the centre",
        "in the center",
        "in the middle",
        "at the centre",
        "at the center",
        "centered",
        "middle",
    ),
    "left": ("on the left", "at the left", "on the left side", "to the left", "left"),
    "right": ("on the right", "at the right", "on the right side", "to the right", "right"),
    "top": ("at the top", "on the top", "in the upper part", "at the upper side", "top", "upper"),
    "bottom": (
        "at the bottom",
        "on the bottom",
        "in the lower part",
        "at the lower side",
        "bottom",
        "lower",
    ),
}
CHINESE_PLACES = {
    "centre": ("中间", "中央", "中心", "正中", "正中间"),
    "left": ("左边", "左侧", "左面", "左方", "左"),
    "right": ("右边", "右侧", "右面", "右方", "右"),
    "top": ("上方", "上面", "上边", "顶部", "上部"),
    "bottom": ("下方", "下面", "下边", "底部", "下部"),
}
ENGLISH_RELATIONS = {
    "left": ("to the left of", "left of", "on the left of", "on the left side of"),
    "right": ("to the right of", "right of", "on the right of", "on the right side of"),
    "top": ("above", "over", "on top of", "higher than"),
    "bottom": ("below", "under", "beneath", "underneath", "lower than"),
}
CHINESE_RELATIONS = {
    "left": ("的左边", "的左侧", "的左面"),
    "right": ("的右边", "的右侧", "的右面"),
    "top": ("的上方", "的上面", "的上边"),
    "bottom": ("的下方", "的下面", "的下边"),
}
ENGLISH_BACKGROUND = ("background", "backdrop")
ENGLISH_BACKGROUND_FIRST = (
    "background is",
    "backdrop is",
    "background of",
    "backdrop of",
    "background:",
    "on",
    "against",
)
CHINESE_BACKGROUND = ("背景", "背景上", "背景上面", "底色", "底")
CHINESE_BACKGROUND_FIRST = (
    "背景是",
    "背景为",
    "背景颜色是",
    "背景颜色为",
    "底色是",
    "底色为",
    "背景:",
)
ENGLISH_PREPOSITIONS = (  # "on", before a colour that is no shape's
    "set against",
    "in front of",
    "on top of",
    "surrounded by",
    "before",
    "upon",
    "atop",
    "over",
    "onto",
    "above",
)
ENGLISH_GROUNDS = (  # "background", after a colour
    "bg",
    "canvas",
    "wall",
    "paper",
    "sheet",
    "surface",
    "page",
    "screen",
    "board",
    "ground",
    "field",
    "sky",
)
CHINESE_GROUNDS = (
    "画布",
    "墙壁",
    "墙面",
    "墙",
    "纸张",
    "纸",
    "布",
    "屏幕",
    "天空",
    "地面",
    "桌面",
)
CHINESE_BEHIND = ("背后", "后面", "身后", "四周", "周围")  # "background", before "is" and a colour
