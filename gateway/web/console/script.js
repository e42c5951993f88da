"use strict";

// The console of gateway. Top to bottom: words, passwords, API and session, elements, forms and
// refusals, parts of views, views, routes. It calls nothing but the API, by relative addresses, so
// that it works below a prefix. It never turns text into HTML: every element is made by h() or s().

// ---- Words ------------------------------------------------------------------------------------
// Both languages have the same keys. {name} is replaced by a value.

const WORDS = {
  en: {
    tag: "en", other: "中文", other_tag: "zh-Hans",
    nav: "Pages", projects: "Projects", account: "Account", api: "API", log_out: "Log out",
    cancel: "Cancel", close: "Close", save: "Save", show: "Show", hide: "Hide", show_secret: "Show secret", hide_secret: "Hide secret", copy: "Copy", copied: "{what} copied",
    copy_failed: "The browser does not allow copying; select the text and copy it by hand",
    loading: "Loading …", again: "Try again", today: "Today",

    intro: "Keys for this API, and how much they are used.",
    step_1: "Register with a code sent by mail.",
    step_2: "Create a project; it gets a key and a secret.",
    step_3: "Copy a ready-made call and send your first request.",
    sign_in: "Log in", register: "Register", create_account: "Create account", forgot: "Forgotten password?",
    no_account: "No account yet?", have_account: "Already registered?", back_to_sign_in: "Back to log in",
    name_or_email: "User name or e-mail address", user_name: "User name", email: "E-mail address", password: "Password",
    new_password: "New password", old_password: "Current password", reg_code: "Code",
    name_hint: "Letters and digits of any script, and _ - .", password_hint: "At least 8 characters.",
    code_hint: "{digits} digits, valid for 10 minutes.", reset_hint: "8 digits, valid for 10 minutes.",
    invitation_hint: "The digits of your invitation, which is valid for 7 days.",
    send_code: "Send me a code", send_again: "Send another code",
    code_sent: "A code is on its way to {email}.", code_in_log: "The code for {email} is in the terminal now.",
    reset_sent: "If {email} has an account, a code is on its way there.",
    reset_in_log: "If {email} has an account, its code appears in the terminal.",
    mails_log: "This service sends no mails yet: the code appears in the terminal where the service runs.",
    mails_none: "This service cannot send mails yet, so it cannot send codes. Ask the people who run it.",
    closed: "Registration is closed here. Ask the people who run this service for an account.",
    invited: "Registration is by invitation: enter the address that was invited and the code of that mail.",
    reset_title: "Forgotten password", set_password: "Set new password",
    session_ended: "Your session has ended. Log in again to go on.", logged_out: "You are logged out.",
    welcome: "Welcome, {name}. Create your first project.", password_set: "The new password is set, and you are logged in.",

    new_project: "New project", no_projects: "No projects yet",
    no_projects_text: "A project has a key and a secret, with which your programs call the API.",
    nobody: "This user has no projects, or there is no such user.",
    projects_of: "Projects of user {id}", whose: "User id", show_theirs: "Show projects", show_mine: "Show my own",
    admin_hint: "As an admin you can look after the projects of any user.",
    range: "{first}–{last} of {total}", previous: "Previous", next: "Next", paging: "Pages of the list",
    used_today: "{used} of {max} requests today", used_no_limit: "{used} requests today, no limit",
    active: "Active", paused: "Paused", expires: "Expires {time}", paused_since: "Paused since {time}",
    create: "Create project", project_name: "Name", project_type: "Type",
    type_hint: "A number of your own choice, for example for a category.",
    created: "{name} is created. Its key and secret are below.",

    gone: "This project is not here", gone_text: "It was deleted, or it is on another page of the list.",
    back: "All projects", credentials: "Key and secret", key: "Key", secret: "Secret", credential: "Key.secret in one",
    credential_hint: "For clients that take one API key.",
    lost_secret: "The service cannot read this secret any more. Rotate it to get a new one.",
    secret_private: "Whoever has the secret can use up the allowance. Keep it out of public pages and repositories.",
    end_points: "End points", calls: "Ready-made calls", try_here: "Try it here",
    try_hint: "This asks the service itself, as nginx does, and counts one request: 204 means yes. It needs no servers behind nginx.",
    copy_call: "Copy call", allowance: "Today's allowance", begins_anew: "The count begins anew at midnight ({zone}).",
    left: "{left} left", none_left: "Used up", no_limit: "This project has no daily limit.",
    usage: "The last 30 days", usage_sum: "{total} requests in 30 days.", never_used: "Not used yet.", last_used: "Last used on {day}.",
    chart: "Requests a day", chart_hint: "Arrow keys move from day to day.", on_day: "{day}: {requests} requests", limit_line: "allowance",
    as_table: "Show as a table", day: "Day", requests: "Requests",
    facts: "About this project", id: "Id", created_at: "Created", total: "Requests in all", pool: "Pool", none: "None", state: "State",
    edit: "Edit", pause: "Pause", resume: "Resume", expire: "Set expiry", unexpire: "Remove expiry", rotate: "Rotate secret", remove: "Delete",
    edit_title: "Edit project", edited: "The project is changed.",
    was_paused: "{name} is paused. Its requests are refused from now on.", was_resumed: "{name} is active again.",
    was_paused_early: "{name} is paused. Its requests are refused from now on, and its expiry of {time} is gone.", has_no_expiry: "{name} has no expiry any more.",
    expire_title: "Set expiry", active_until: "Active until", expire_text: "From this moment on, requests of the project are refused.",
    expire_paused: "The project is paused now. Saving makes it active at once, until this moment.",
    local_zone: "In your time zone, {zone}.", in_past: "This moment has passed; to stop the project now, use Pause.",
    too_late: "The latest possible moment is 19 January 2038.", will_expire: "{name} will pause at {time}.",
    rotate_title: "Rotate secret", rotate_text: "The project gets a new secret under the same key. Choose how long the old secret goes on working.",
    grace_hours: "Hours of grace", grace_hint: "0 to 168. With 0 the old secret stops at once.",
    rotated: "The project has a new secret; it is shown below.",
    delete_title: "Delete {name}?", delete_text: "Its key stops working at once. This cannot be undone.",
    type_name: "Type the name {name} to confirm", names_differ: "This is not {name}.",
    deleted: "{name} is deleted.",

    your_account: "Your account", this_login: "This log-in", from: "{time}, from {ip}", role: "Role", admin: "Admin", user: "User", version: "Version of the service",
    digest_note: "Programs that log in as you send the MD5 digest of your password, as this page does.",
    plain_note: "Programs that log in as you send your password as it is.",
    change_password: "Change password", change_password_text: "You stay logged in here; every other session ends.",
    password_changed: "The password is changed.",
    change_email: "Change e-mail address", change_email_text: "A code proves the new address. The old address gets a mail about the change.",
    new_email: "New e-mail address", email_changed: "The address is changed.",
    leave: "Leave", leave_text: "This erases your account with its projects, keys and usage, for good.",
    leave_button: "Delete account …", leave_title: "Delete your account?", leave_confirm: "Delete account", last_admin: "You are the last admin. Let another account become an admin first.", left_us: "Your account and all its projects are erased.",

    required: "Please fill this in.", short: "At least 8 characters.", common: "This is one of the commonest passwords; choose another one.",
    own: "This is your own name or address; choose another one.", whole_number: "A whole number from {from} to {to}.", not_a_date: "This date does not exist.",
    refusal: {
      1000: "This belongs to another user, or this service does not allow it.",
      1001: "Your session has ended. Log in again to go on.",
      1002: "The user name or the password is wrong.",
      old_password: "The password is wrong.",
      1005: "This user name is taken; choose another one.",
      1006: "There is no such record; it may have been deleted.",
      1008: "The code is wrong, used, expired or out of tries. Check it, or ask for another one.",
      1009: "A limit of this account is reached.",
      1012: "This account is banned. Ask the people who run this service.",
      1018: "This address already has an account.",
      1029: "The mail could not be sent. Try again soon.",
      429: "Too many requests. Try again in {wait}.",
      501: "The database is unavailable. Try again soon.",
      502: "The service does not answer right now. Try again soon.",
      503: "The service does not answer right now. Try again soon.",
      504: "The service does not answer right now. Try again soon.",
      network: "The service does not answer. Is it running, and are you connected?",
    },
    problem: {
      missing: "Please fill this in.", text: "This must be text.", characters: "Control characters and broken characters are not allowed.",
      length: "{1} to {2} characters are needed.", name: "Only visible letters and digits, _ - and . are allowed.",
      first: "The first character must be a letter or a digit.", dot: "A middle dot may stand only between two letters.",
      email: "An address like name@example.com is needed.", integer: "A whole number is needed.", range: "A whole number from {1} to {2} is needed.",
      common: "This is one of the commonest passwords; choose another one.", own: "This must not be the account's own name or address.",
      refused: "The mail server refuses this address.", domain: "An address at {1} is needed.",
    },
    or: " or ", seconds: "{n} seconds", minutes: "{n} minutes", hours: "{n} hours",
  },

  zh: {
    tag: "zh-Hans", other: "English", other_tag: "en",
    nav: "页面", projects: "项目", account: "账户", api: "API 文档", log_out: "退出登录",
    cancel: "取消", close: "关闭", save: "保存", show: "显示", hide: "隐藏", show_secret: "显示 Secret", hide_secret: "隐藏 Secret", copy: "复制", copied: "已复制{what}",
    copy_failed: "浏览器不允许复制，请选中文字后手动复制",
    loading: "正在加载……", again: "重试", today: "今天",

    intro: "管理 API Key，了解用量。",
    step_1: "用邮件验证码注册。",
    step_2: "创建项目，得到 Key 和 Secret。",
    step_3: "复制现成的调用代码，发出第一个请求。",
    sign_in: "登录", register: "注册", create_account: "创建账户", forgot: "忘记密码？",
    no_account: "还没有账户？", have_account: "已经注册？", back_to_sign_in: "返回登录",
    name_or_email: "用户名或邮箱地址", user_name: "用户名", email: "邮箱地址", password: "密码",
    new_password: "新密码", old_password: "当前密码", reg_code: "验证码",
    name_hint: "可用各种文字的字母和数字，以及 _ - .", password_hint: "至少 8 个字符。",
    code_hint: "{digits} 位数字，10 分钟内有效。", reset_hint: "8 位数字，10 分钟内有效。",
    invitation_hint: "邀请邮件中的数字，7 天内有效。",
    send_code: "发送验证码", send_again: "重新发送验证码",
    code_sent: "验证码已发往 {email}。", code_in_log: "{email} 的验证码已显示在终端中。",
    reset_sent: "如果 {email} 已注册，验证码已发往该地址。",
    reset_in_log: "如果 {email} 已注册，验证码会显示在终端中。",
    mails_log: "本服务目前不发送邮件：验证码会显示在运行服务的终端里。",
    mails_none: "本服务还不能发送邮件，因此无法发送验证码。请联系服务的运营者。",
    closed: "本服务不开放注册。请向运营者申请账户。",
    invited: "本服务仅限受邀注册：请填写受邀的邮箱地址和邀请邮件中的验证码。",
    reset_title: "忘记密码", set_password: "设置新密码",
    session_ended: "登录已失效，请重新登录。", logged_out: "您已退出登录。",
    welcome: "欢迎，{name}。请创建您的第一个项目。", password_set: "新密码已设置，您已登录。",

    new_project: "新建项目", no_projects: "还没有项目",
    no_projects_text: "每个项目都有 Key 和 Secret，您的程序用它们调用 API。",
    nobody: "该用户没有项目，或者没有这个用户。",
    projects_of: "用户 {id} 的项目", whose: "用户编号", show_theirs: "显示项目", show_mine: "显示我的项目",
    admin_hint: "您是管理员，可以管理任何用户的项目。",
    range: "第 {first}–{last} 个，共 {total} 个", previous: "上一页", next: "下一页", paging: "列表分页",
    used_today: "今天已用 {used} 次，共 {max} 次", used_no_limit: "今天已用 {used} 次，不限量",
    active: "使用中", paused: "已暂停", expires: "{time} 到期", paused_since: "{time} 起暂停",
    create: "创建项目", project_name: "名称", project_type: "类型",
    type_hint: "由您自定的数字，例如用作分类。",
    created: "项目“{name}”已创建，Key 和 Secret 如下。",

    gone: "找不到这个项目", gone_text: "它已被删除，或者在列表的另一页。",
    back: "全部项目", credentials: "Key 和 Secret", key: "API Key", secret: "API Secret", credential: "合并写法（Key.Secret）",
    credential_hint: "用于只接受一个 API key 的客户端。",
    lost_secret: "服务已无法读取这个 Secret。请更换 Secret。",
    secret_private: "得到 Secret 的人可以用掉您的额度。请勿放入公开的网页或代码仓库。",
    end_points: "接入地址", calls: "现成的调用代码", try_here: "就地试用",
    try_hint: "它像 nginx 那样直接询问本服务，并计一次请求：返回 204 表示允许。不需要 nginx 后面的服务器。",
    copy_call: "复制代码", allowance: "今天的额度", begins_anew: "每天午夜（{zone}）重新计数。",
    left: "还剩 {left} 次", none_left: "已用完", no_limit: "这个项目没有每日限额。",
    usage: "最近 30 天", usage_sum: "30 天共 {total} 次请求。", never_used: "尚未使用。", last_used: "最近使用：{day}。",
    chart: "每天的请求数", chart_hint: "用方向键逐日查看。", on_day: "{day}：{requests} 次请求", limit_line: "额度",
    as_table: "以表格显示", day: "日期", requests: "请求数",
    facts: "项目信息", id: "编号", created_at: "创建时间", total: "累计请求数", pool: "资源池", none: "无", state: "状态",
    edit: "编辑", pause: "暂停", resume: "恢复", expire: "设置到期时间", unexpire: "取消到期时间", rotate: "更换 Secret", remove: "删除",
    edit_title: "编辑项目", edited: "项目已修改。",
    was_paused: "项目“{name}”已暂停，从现在起拒绝它的请求。", was_resumed: "项目“{name}”已恢复使用。",
    was_paused_early: "项目“{name}”已暂停，从现在起拒绝它的请求；原定的到期时间 {time} 已取消。", has_no_expiry: "项目“{name}”不再有到期时间。",
    expire_title: "设置到期时间", active_until: "有效期至", expire_text: "从这一刻起拒绝该项目的请求。",
    expire_paused: "项目现已暂停。保存后立即恢复使用，直到这一刻。",
    local_zone: "按您的时区：{zone}。", in_past: "这个时间已经过去；要立即停用，请使用“暂停”。",
    too_late: "最晚可设到 2038 年 1 月 19 日。", will_expire: "项目“{name}”将于 {time} 暂停。",
    rotate_title: "更换 Secret", rotate_text: "Key 不变，项目得到新的 Secret。请选择旧 Secret 继续有效的时间。",
    grace_hours: "宽限小时数", grace_hint: "0 到 168。填 0 则旧 Secret 立即失效。",
    rotated: "项目已有新的 Secret，显示如下。",
    delete_title: "删除“{name}”？", delete_text: "它的 Key 立即失效，并且无法恢复。",
    type_name: "请输入名称 {name} 以确认", names_differ: "这与 {name} 不符。",
    deleted: "项目“{name}”已删除。",

    your_account: "您的账户", this_login: "本次登录", from: "{time}，来自 {ip}", role: "角色", admin: "管理员", user: "普通用户", version: "服务版本",
    digest_note: "程序以您的身份登录时，与本页一样发送密码的 MD5 摘要。",
    plain_note: "程序以您的身份登录时，按原样发送密码。",
    change_password: "修改密码", change_password_text: "您在这里保持登录，其他登录全部失效。",
    password_changed: "密码已修改。",
    change_email: "更换邮箱地址", change_email_text: "新地址需用验证码确认，旧地址会收到通知邮件。",
    new_email: "新邮箱地址", email_changed: "邮箱地址已更换。",
    leave: "注销账户", leave_text: "永久删除您的账户及其项目、Key 和用量记录。",
    leave_button: "注销账户……", leave_title: "注销您的账户？", leave_confirm: "注销账户", last_admin: "您是最后一位管理员，请先让另一个账户成为管理员。", left_us: "您的账户及全部项目已删除。",

    required: "请填写此项。", short: "至少 8 个字符。", common: "这个密码太常见，请换一个。",
    own: "密码不能是您的用户名或邮箱地址，请换一个。", whole_number: "请填 {from} 到 {to} 的整数。", not_a_date: "这个日期不存在。",
    refusal: {
      1000: "这属于其他用户，或者本服务不允许此操作。",
      1001: "登录已失效，请重新登录。",
      1002: "用户名或密码错误。",
      old_password: "密码错误。",
      1005: "用户名已被使用，请换一个。",
      1006: "找不到该记录，可能已被删除。",
      1008: "验证码错误、已使用、已过期或尝试次数已用完。请核对，或重新获取。",
      1009: "已达到账户的上限。",
      1012: "该账户已被封禁，请联系服务的运营者。",
      1018: "该邮箱地址已注册。",
      1029: "邮件发送失败，请稍后再试。",
      429: "请求过于频繁，请在 {wait}后再试。",
      501: "数据库暂时不可用，请稍后再试。",
      502: "服务暂时没有响应，请稍后再试。",
      503: "服务暂时没有响应，请稍后再试。",
      504: "服务暂时没有响应，请稍后再试。",
      network: "服务没有响应。它在运行吗？网络是否正常？",
    },
    problem: {
      missing: "请填写此项。", text: "必须是文字。", characters: "不能含有控制字符或损坏的字符。",
      length: "长度须为 {1} 到 {2} 个字符。", name: "只能使用可见的字母和数字，以及 _ - .",
      first: "首字符必须是字母或数字。", dot: "间隔号只能放在两个字母之间。",
      email: "请填写类似 name@example.com 的地址。", integer: "请填写整数。", range: "请填写 {1} 到 {2} 的整数。",
      common: "这个密码太常见，请换一个。", own: "不能是账户自己的用户名或邮箱地址。",
      refused: "邮件服务器拒收这个地址。", domain: "请使用 {1} 的邮箱地址。",
    },
    or: "或", seconds: "{n} 秒", minutes: "{n} 分钟", hours: "{n} 小时",
  },
};

// How the API words the problem of a field (code 1003 and 1004), and the key of our words for it.
const PROBLEMS = [
  [/^(?:is missing|must not be null)$/, "missing"],
  [/^must be text$/, "text"],
  [/^must not hold control characters/, "characters"],
  [/^must be (\d+) to (\d+) characters long$/, "length"],
  [/^must be made of visible letters/, "name"],
  [/^must begin with a letter or a digit$/, "first"],
  [/^may hold a middle dot/, "dot"],
  [/^must be an address like/, "email"],
  [/^must be an address at (.+)$/, "domain"],
  [/^must be an integer from (\d+) to (\d+)$/, "range"],
  [/^must be an integer$/, "integer"],
  [/^is one of the commonest/, "common"],
  [/^must not be the account's own/, "own"],
  [/^is refused by the mail server/, "refused"],
];
// Code 1000 has several reasons; these are told apart by their sentence.
const REASONS = [
  [/^You are the last admin/, "last_admin"],
  [/^Registration is closed/, "closed"],
  [/^Registration is by invitation/, "invited"],
];

const storedLanguage = () => { try { return localStorage.getItem("language"); } catch { return null; } };
const preferred = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in WORDS);
let language = storedLanguage() in WORDS ? storedLanguage() : preferred ?? "en";

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// Return the words of a key like "save" or "problem.email".
function t(key, values = {}) {
  const text = key.split(".").reduce((words, part) => words?.[part], WORDS[language]);
  return text === undefined ? undefined : fill(text, values);
}

const number = (value) => new Intl.NumberFormat(t("tag")).format(value);
const moment = (seconds) =>
  new Intl.DateTimeFormat(t("tag"), { dateStyle: "medium", timeStyle: "short" }).format(1000 * seconds);
// A day of the service like "2024-03-07"; it is no moment, so no time zone may move it.
const dayName = (day, options) =>
  new Intl.DateTimeFormat(t("tag"), { timeZone: "UTC", ...options }).format(new Date(`${day}T00:00:00Z`));
const wait = (seconds) =>
  seconds < 120 ? t("seconds", { n: seconds })
    : seconds < 7200 ? t("minutes", { n: Math.ceil(seconds / 60) }) : t("hours", { n: Math.ceil(seconds / 3600) });

// ---- Passwords --------------------------------------------------------------------------------
// Clients of this API send the MD5 digest of what a person types, so this page does, too. The
// service cannot judge a digest; the page refuses weak passwords itself.

const COMMON = new Set(`123456789 password 12345678 password1 1234567890 iloveyou 1q2w3e4r5t qwertyuiop 1qaz2wsx
  1q2w3e4r qwerty123 987654321 asdfghjkl 123123123 princess computer football 1234qwer sunshine iloveyou1 789456123
  princess1 abcd1234 11111111 superman football1 12qwaszx baseball 123456789a q1w2e3r4t5y6 88888888 michael1 qwer1234
  linkedin q1w2e3r4 michelle liverpool 0123456789 iloveyou2 jennifer babygirl 147258369 jessica1 0987654321 qazwsxedc
  password123 admin123 administrator welcome1 welcome123 letmein1 passw0rd p@ssw0rd changeme trustno1 starwars
  a123456789 woaini1314 5201314520 aa123456 asd123456 qq123456 1234567a 12341234 00000000 66666666 12344321`.split(/\s+/));

// Return the key of the words for what is wrong with a new password, "" if nothing.
function weakness(password, ...own) {
  const plain = password.toLowerCase();
  if (password.length < 8) return "short";
  if (COMMON.has(plain) || /^(.)\1*$/.test(plain)) return "common";
  return own.some((text) => text && text.trim().toLowerCase() === plain) ? "own" : "";
}

// Return the MD5 digest of a text's UTF-8 as 32 hexadecimal digits (RFC 1321).
function md5(text) {
  const bytes = new TextEncoder().encode(text);
  const words = new Uint32Array(16 * (((bytes.length + 8) >> 6) + 1));
  bytes.forEach((byte, n) => { words[n >> 2] |= byte << (8 * (n % 4)); });
  words[bytes.length >> 2] |= 0x80 << (8 * (bytes.length % 4));
  words[words.length - 2] = 8 * bytes.length;
  const turns = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
  const sum = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
  for (let block = 0; block < words.length; block += 16) {
    let [a, b, c, d] = sum;
    for (let n = 0; n < 64; n++) {
      const round = n >> 4;
      const mixed = [(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d)][round];
      const word = words[block + ([n, 5 * n + 1, 3 * n + 5, 7 * n][round] % 16)];
      const constant = Math.floor(2 ** 32 * Math.abs(Math.sin(n + 1)));
      const total = (a + mixed + constant + word) | 0;
      const turn = turns[round][n % 4];
      [a, b, c, d] = [d, (b + ((total << turn) | (total >>> (32 - turn)))) | 0, b, c];
    }
    [a, b, c, d].forEach((value, n) => { sum[n] = (sum[n] + value) | 0; });
  }
  return sum.map((value) => [0, 8, 16, 24].map((shift) =>
    ((value >>> shift) & 255).toString(16).padStart(2, "0")).join("")).join("");
}

// ---- API and session --------------------------------------------------------------------------

const SERVICE = document.body.dataset; // service, mails, digits, registration, zone
const MAX_TIME = 2 ** 31 - 1;
let clockAhead = 0; // milliseconds that the service's clock is ahead of this one

class Refusal extends Error {
  constructor(code, message, retry) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}

// Send one request; return {data, total}. Throw a Refusal when the code is not 0.
async function ask(path, body = {}) {
  const token = session()?.token;
  let response, reply;
  try {
    response = await fetch(`api/v1/${path}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Accept-Language": language, // of the mails
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
    reply = await response.json();
  } catch {
    throw new Refusal("network", "");
  }
  const date = Date.parse(response.headers.get("Date"));
  if (date) clockAhead = date - Date.now();
  const { code, message, total } = reply.header;
  if (code === 0) return { data: reply.data, total };
  if (code === 1001 && token && session()?.token === token) {
    wanted = location.hash;
    endSession("session_ended");
  }
  throw new Refusal(code, message, Number(response.headers.get("Retry-After")));
}

const serviceNow = () => Math.floor((Date.now() + clockAhead) / 1000);

function session() {
  return JSON.parse(sessionStorage.getItem("session"));
}

function endSession(notice) {
  sessionStorage.removeItem("session");
  go("sign-in", {}, t(notice));
}

// Log in. An account that was made by a program may have the password itself instead of its digest.
async function logIn(name, typed) {
  const send = (password) => ask("login", { user_name: name, password });
  let isPlain = false;
  const { data } = await send(md5(typed)).catch((refusal) => {
    if (refusal.code !== 1002 || typed.length < 8) throw refusal;
    isPlain = true;
    return send(typed);
  });
  const claims = JSON.parse(atob(data.auth_token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  sessionStorage.setItem("session", JSON.stringify({
    token: data.auth_token, id: claims.claim_id, name: data.user_name, isAdmin: data.role === "admin",
    isPlain, ip: data.login_ip, time: data.login_time, version: data.version,
  }));
}

// Return a password in the form in which the account of the session has it.
const passwordOf = (typed) => (session().isPlain ? typed : md5(typed));

// ---- Elements ---------------------------------------------------------------------------------

// Make an element: h("a", { href: "#x", onclick: f }, "text", another). false and null are left out.
function h(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

function s(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const main = document.getElementById("main");
const statusLine = document.getElementById("status");
let nextId = 0;

// Say what happened: on the page for a while, and to screen readers.
let hideStatus;
function announce(text) {
  clearTimeout(hideStatus);
  statusLine.textContent = text;
  hideStatus = setTimeout(() => { statusLine.textContent = ""; }, 6000);
}

const button = (text, onclick, kind = "", attributes = {}) =>
  h("button", { type: "button", class: kind, onclick, ...attributes }, text);
const card = (title, ...children) => {
  const id = `h${nextId++}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), children);
};
const notice = (text, kind = "") => text && h("p", { class: `notice ${kind}` }, text);

// ---- Forms and refusals -----------------------------------------------------------------------

// The fields that a code is about; the first that the form has gets the words.
const FIELDS_OF = {
  1000: ["user_id"], 1002: ["old_password", "password"], 1005: ["user_name"], 1008: ["reg_code"],
  1009: ["project_name"], 1012: ["user_name"], 1018: ["email"], 1029: ["email"],
};

// Make a labelled input; its problem stands below it. The name is the API's name of the field.
function field({ name, label, hint, type = "text", ...attributes }) {
  const id = `f${nextId++}`;
  const input = h("input", {
    id, name, type, "aria-describedby": `${id}e${hint ? ` ${id}h` : ""}`,
    autocapitalize: "off", spellcheck: "false", ...attributes,
  });
  const peek = type === "password" && button(t("show"), () => {
    const isShown = input.type === "text";
    input.type = isShown ? "password" : "text";
    peek.textContent = t(isShown ? "show" : "hide");
  }, "peek", { "aria-controls": id });
  return h("div", { class: "field" },
    h("label", { for: id }, label),
    h("div", { class: "input" }, input, peek),
    hint && h("p", { class: "hint", id: `${id}h` }, hint),
    h("p", { class: "problem", id: `${id}e` }));
}

// Make a form. send(values) does the work; what it throws is shown beside the field it is about.
// check(values) returns {field: words} of what this page finds wrong. run(work, names) does another
// work with the fields of these names.
function form({ fields, submit, send, check = () => ({}), kind = "primary", extra }) {
  const general = h("p", { class: "problem general", role: "alert" });
  const submitButton = h("button", { type: "submit", class: kind }, submit);
  const element = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); element.run(send); } },
    fields, general, h("div", { class: "buttons" }, submitButton, extra));
  const inputs = () => [...element.querySelectorAll("input:not([hidden])")];

  element.run = async (work, names) => {
    if (element.getAttribute("aria-busy")) return;
    const concerned = inputs().filter((input) => !names || names.includes(input.name));
    const values = Object.fromEntries(concerned.map((input) => [input.name, input.value]));
    const problems = names ? {} : Object.fromEntries(Object.entries(check(values)).filter(([, words]) => words));
    for (const input of concerned) {
      // A number or a date that the browser cannot read has no value.
      if (input.validity.badInput) problems[input.name] = t(input.type === "number" ? "problem.integer" : "not_a_date");
      else if (input.required && !input.value.trim()) problems[input.name] = t("required");
    }
    mark(problems);
    if (Object.keys(problems).length) return;
    element.setAttribute("aria-busy", "true");
    try {
      await work(values);
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (element.isConnected) mark(problemsOf(refusal, inputs().map((input) => input.name)));
    } finally {
      element.removeAttribute("aria-busy");
    }
  };

  // Show {field: words}, with "" for the form itself. Focus the first field concerned.
  function mark(problems) {
    for (const input of inputs()) {
      document.getElementById(`${input.id}e`).textContent = problems[input.name] ?? "";
      if (problems[input.name]) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    general.textContent = problems[""] ?? "";
    inputs().find((input) => problems[input.name])?.focus();
  }

  return element;
}

// Return {field: words} for a refusal, with "" for what is about none of the form's fields.
function problemsOf(refusal, names) {
  if (refusal.code === 1003 || refusal.code === 1004) {
    const problems = {};
    let last = "";
    for (const part of refusal.message.split("; ")) {
      const [, name, text] = part.match(/^(\w+) (.+)$/s) ?? [];
      if (names.includes(name)) problems[(last = name)] = text;
      else problems[last] = problems[last] ? `${problems[last]}; ${part}` : part;
    }
    return Object.fromEntries(Object.entries(problems).map(([name, text]) => [name, problemWords(name, text)]));
  }
  const name = (FIELDS_OF[refusal.code] ?? []).find((candidate) => names.includes(candidate)) ?? "";
  return { [name]: refusalWords(refusal, name) };
}

function problemWords(name, text) {
  for (const [pattern, key] of PROBLEMS) {
    const found = text.match(pattern);
    if (found) return t(`problem.${key}`, found.map((part) => part.replaceAll(" or ", t("or"))));
  }
  return name ? `${name} ${text}` : text;
}

function refusalWords({ code, message, retry }, name = "") {
  const reason = REASONS.find(([pattern]) => pattern.test(message));
  if (reason) return t(reason[1]);
  const about = name === "old_password" || (name === "password" && session()) ? "old_password" : code;
  return t(`refusal.${about}`, { wait: wait(retry || 60) }) ?? t(`refusal.${code}`) ?? message;
}

const passwordField = (name, label, isNew) => field({
  name, label, type: "password", required: true, autocomplete: isNew ? "new-password" : "current-password",
  hint: isNew && t("password_hint"),
});
// Tell password managers whose password a form is about.
const ownName = () => h("input", { hidden: true, name: "username", autocomplete: "username", value: session().name, readonly: true });
const codeField = (hint) =>
  field({ name: "reg_code", label: t("reg_code"), hint, required: true, inputmode: "numeric", autocomplete: "one-time-code" });
const emailField = (label = t("email")) =>
  field({ name: "email", label, type: "email", required: true, autocomplete: "email" });

// Say where codes appear, if it is not in a mailbox.
const mailNotice = () => ({ log: notice(t("mails_log"), "info"), none: notice(t("mails_none"), "warning") })[SERVICE.mails] ?? null;

// ---- Parts of views ---------------------------------------------------------------------------

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // on a page without TLS there is no clipboard
    const area = h("textarea", { class: "off-screen", readonly: true }, text);
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    before?.focus();
    if (!isCopied) return announce(t("copy_failed"));
  }
  return announce(t("copied", { what }));
}

const copyButton = (what, text, label = t("copy")) =>
  button(label, () => copy(text(), what), "small", label === t("copy") ? { "aria-label": `${label}: ${what}` } : {});

// Open a dialog with a form; return it. It closes when the form's work is done.
function openDialog(title, text, settings) {
  const id = `h${nextId++}`;
  const content = form({
    ...settings,
    send: async (values) => { await settings.send(values); dialog.close(); settings.done?.(values); },
    extra: button(t("cancel"), () => dialog.close()),
  });
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() },
    h("h2", { id }, title), text && h("p", {}, text), content);
  document.body.append(dialog);
  dialog.showModal();
  (content.querySelector("input") ?? content.querySelector("button")).focus();
  return dialog;
}

function allowanceBar({ request_today: used, request_max: max }) {
  if (!max) return h("p", { class: "quiet" }, t("used_no_limit", { used: number(used) }));
  const words = t("used_today", { used: number(used), max: number(max) });
  return h("div", { class: `allowance ${used >= max ? "full" : used >= 0.8 * max ? "high" : ""}` },
    h("progress", { max, value: Math.min(used, max), "aria-label": t("allowance") }), h("p", { class: "quiet" }, words));
}

// Return the words and the kind of a project's state.
function stateOf(activeUntil) {
  if (!activeUntil) return [t("active"), "good"];
  const isOver = activeUntil <= serviceNow();
  return [t(isOver ? "paused_since" : "expires", { time: moment(activeUntil) }), isOver ? "bad" : "warn"];
}

// Return a text as a person sees and types it: without what is invisible, its blanks in a row as one.
const seen = (text) => text.replace(/[\p{C}\p{DI}\u2800]/gu, "").replace(/\s+/g, " ").trim().normalize();

const pill = ([words, kind]) => h("span", { class: `pill ${kind}` }, words);

// Tabs: a row of buttons and one panel; the arrow keys move between the buttons.
function tabs(label, entries) {
  const id = `t${nextId++}`;
  const panel = h("div", { role: "tabpanel", id, class: "panel" });
  const list = h("div", { role: "tablist", "aria-label": label, class: "tabs" }, entries.map(([name], n) =>
    button(name, () => choose(n), "", { role: "tab", id: `${id}-${n}`, "aria-controls": id })));
  const all = [...list.children];
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (all.indexOf(document.activeElement) + step + all.length) % all.length;
    choose(next);
    all[next].focus();
  });
  function choose(chosen) {
    memory.tab = chosen;
    all.forEach((tab, n) => {
      tab.setAttribute("aria-selected", n === chosen);
      tab.tabIndex = n === chosen ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", all[chosen].id);
    panel.replaceChildren(...[entries[chosen][1]()].flat());
  }
  choose(Math.min(memory.tab ?? 0, entries.length - 1));
  return [list, panel];
}

// Ready-made calls of a project: [name, code, remark]. An end point may hold the credential already.
function callsOf(project) {
  const { project_key: key, project_secret: secret, end_points: points } = project;
  const credential = `${key}.${secret}`;
  const http = points.find((point) => point.startsWith("http"));
  const socket = points.find((point) => point.startsWith("ws"));
  const bare = http?.replace(`/${credential}`, "").replace(/\/$/, "");
  const hasCredential = (point) => point.includes(credential);
  return [
    SERVICE.mails === "log" && [t("try_here"),
      `curl -i -u '${key}:${secret}' \\\n  ${new URL("api/v1/project/verify", document.baseURI).href}`, t("try_hint")],
    http && ["curl", [`curl ${http}`, !hasCredential(http) && `-H 'Authorization: Bearer ${credential}'`,
      "-H 'Content-Type: application/json'", "-d '{}'"].filter(Boolean).join(" \\\n  ")],
    http && ["Python", `from openai import OpenAI

client = OpenAI(
    base_url="${bare}/v1",
    api_key="${credential}",
)
answer = client.chat.completions.create(
    model="your-model",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`],
    socket && ["JavaScript", `const socket = new WebSocket(
  "${hasCredential(socket) ? socket : `${socket.replace(/\/$/, "")}/${credential}`}",
);
socket.onopen = () => socket.send("hello");
socket.onmessage = (event) => console.log(event.data);`],
  ].filter(Boolean);
}

// ---- The picture of usage ---------------------------------------------------------------------

const CHART_HEIGHT = 220;
const CHART_EDGE = { top: 16, right: 8, bottom: 28, left: 46 };

// Return the smallest of 2, 4, 6, 10, 20, 40 ... that is not below a value, so half of it is whole.
function scaleTop(value) {
  const power = 10 ** Math.max(0, Math.floor(Math.log10(value)));
  return [2, 4, 6, 10, 20].map((step) => step * power).find((top) => top >= value);
}

// A picture of requests by day. As a slider it tells its days to those who cannot see it, too.
function usageChart(days, max) {
  const words = (n) => t("on_day", {
    day: dayName(days[n].day, { weekday: "short", month: "short", day: "numeric" }), requests: number(days[n].requests),
  });
  const readout = h("p", { class: "readout" });
  const slider = h("div", {
    class: "chart", role: "slider", tabindex: 0, "aria-label": t("chart"), "aria-orientation": "horizontal",
    "aria-valuemin": 0, "aria-valuemax": days.length - 1,
    onkeydown: (event) => {
      const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, ArrowDown: chosen - 1, ArrowUp: chosen + 1,
        Home: 0, End: days.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(Math.max(0, Math.min(days.length - 1, to)));
    },
    onpointermove: point, onpointerdown: point,
  });
  const top = scaleTop(Math.max(2, ...days.map((day) => day.requests)));
  let chosen = days.length - 1;
  let drawnWidth = 0;

  const plotWidth = () => drawnWidth - CHART_EDGE.left - CHART_EDGE.right;
  const y = (value) => CHART_EDGE.top + (CHART_HEIGHT - CHART_EDGE.top - CHART_EDGE.bottom) * (1 - value / top);

  function point(event) {
    const x = event.clientX - slider.getBoundingClientRect().left - CHART_EDGE.left;
    const n = Math.floor((x / plotWidth()) * days.length);
    if (n >= 0 && n < days.length) choose(n);
  }

  function choose(n) {
    chosen = n;
    slider.setAttribute("aria-valuenow", n);
    slider.setAttribute("aria-valuetext", words(n));
    readout.textContent = words(n);
    slider.querySelectorAll(".bar").forEach((bar, at) => bar.classList.toggle("chosen", at === n));
  }

  function draw() {
    const slot = plotWidth() / days.length;
    const right = drawnWidth - CHART_EDGE.right;
    const every = Math.ceil(days.length / Math.max(2, Math.floor(plotWidth() / 90)));
    const line = (value, kind) => s("line", { class: kind, x1: CHART_EDGE.left, x2: right, y1: y(value), y2: y(value) });
    slider.replaceChildren(s("svg", { width: drawnWidth, height: CHART_HEIGHT, "aria-hidden": "true" },
      [0, top / 2, top].map((value) => [line(value, "grid"),
        s("text", { class: "tick", x: CHART_EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value))]),
      days.map(({ requests }, n) => s("rect", {
        class: requests ? "bar" : "bar zero", x: CHART_EDGE.left + slot * (n + 0.15), width: slot * 0.7,
        y: requests ? Math.min(y(requests), y(0) - 2) : y(0) - 2,
        height: requests ? Math.max(2, y(0) - y(requests)) : 2, rx: Math.min(3, slot * 0.2),
      })),
      max > 0 && max <= top && [line(max, "limit"),
        s("text", { class: "tick", x: right, y: y(max) - 5, "text-anchor": "end" }, t("limit_line"))],
      days.map(({ day }, n) => (days.length - 1 - n) % every === 0 && s("text", {
        class: "tick", x: n === days.length - 1 ? right : CHART_EDGE.left + slot * (n + 0.5), y: CHART_HEIGHT - 8,
        "text-anchor": n === days.length - 1 ? "end" : "middle",
      }, n === days.length - 1 ? t("today") : dayName(day, { month: "short", day: "numeric" })))));
    choose(chosen);
  }

  const observer = new ResizeObserver(([{ contentRect }]) => {
    if (!slider.isConnected) return observer.disconnect();
    const width = Math.floor(contentRect.width);
    if (width === drawnWidth || width < 100) return undefined;
    drawnWidth = width;
    return draw();
  });
  observer.observe(slider);
  choose(chosen);
  return h("div", {}, readout, slider, h("p", { class: "hint" }, t("chart_hint")));
}

const usageTable = (days) => h("details", {}, h("summary", {}, t("as_table")),
  h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("day")), h("th", { scope: "col", class: "number" }, t("requests")))),
    h("tbody", {}, days.toReversed().map(({ day, requests }) =>
      h("tr", {}, h("th", { scope: "row" }, dayName(day, { dateStyle: "medium" })), h("td", { class: "number" }, number(requests)))))));

// ---- Views: without an account ----------------------------------------------------------------

// A form of the entrance, beside what this service is for.
function entrance(title, ...children) {
  show(title, h("div", { class: "entrance" },
    h("div", { class: "intro" }, h("p", { class: "lead" }, t("intro")),
      h("ol", {}, ["step_1", "step_2", "step_3"].map((key) => h("li", {}, t(key))))),
    h("div", { class: "card" }, h("h1", { tabindex: -1 }, title), takeNotice(), children)));
}

const link = (text, view) => h("a", { href: `#${view}` }, text);

function viewSignIn() {
  entrance(t("sign_in"),
    form({
      fields: [
        field({ name: "user_name", label: t("name_or_email"), required: true, autocomplete: "username" }),
        passwordField("password", t("password")),
      ],
      submit: t("sign_in"),
      send: async ({ user_name, password }) => {
        await logIn(user_name, password);
        const target = wanted;
        wanted = "";
        location.hash = target || "#projects";
      },
    }),
    h("p", { class: "links" }, link(t("forgot"), "forgot")),
    SERVICE.registration !== "closed" &&
      h("p", { class: "links" }, `${t("no_account")} `, link(t("register"), "register")));
}

// A form in two steps: it asks for a code, then shows the fields that need it.
function codeForm({ before, after, askCode, sent, submit, send, check }) {
  const state = h("div", { "aria-live": "polite" });
  const later = h("div", { class: "later" });
  const requestCode = async (values) => {
    await askCode(values);
    memory.codeFor = values.email;
    draw();
    later.querySelector("input").focus();
  };
  const again = button(t("send_again"), () => element.run(requestCode, before.map((one) => one.querySelector("input").name)), "plain");
  const element = form({
    fields: [before, state, later], submit: "", extra: again,
    check: (values) => (memory.codeFor ? check(values) : {}),
    send: (values) => (memory.codeFor ? send(values) : requestCode(values)),
  });
  function draw() {
    const email = memory.codeFor;
    again.hidden = !email;
    element.querySelector("button[type=submit]").textContent = email ? submit : t("send_code");
    state.replaceChildren(...(email ? [notice(t(sent, { email }), "good")] : []));
    if (email && !later.firstChild) later.append(...after());
  }
  draw();
  return element;
}

const isLogged = () => SERVICE.mails === "log";

function viewRegister() {
  const isInvited = SERVICE.registration === "invited";
  const names = [
    field({ name: "user_name", label: t("user_name"), hint: t("name_hint"), required: true, autocomplete: "username" }),
    emailField(),
  ];
  const codeAndPassword = () => [
    codeField(t(isInvited ? "invitation_hint" : "code_hint", SERVICE)), passwordField("password", t("password"), true),
  ];
  const settings = {
    submit: t("create_account"),
    check: ({ user_name, email, password }) => ({ password: weaknessWords(password, user_name, email) }),
    send: async ({ user_name, email, reg_code, password }) => {
      await ask("register", { user_name, email, reg_code, password: md5(password) });
      await logIn(user_name, password);
      go("projects", {}, t("welcome", { name: session().name }));
    },
  };
  entrance(t("register"),
    SERVICE.registration === "closed" ? notice(t("closed"), "warning")
      : isInvited ? [notice(t("invited"), "info"), form({ ...settings, fields: [names, codeAndPassword()] })]
        : [mailNotice(), codeForm({
          ...settings, before: names, after: codeAndPassword, sent: isLogged() ? "code_in_log" : "code_sent",
          askCode: ({ user_name, email }) => ask("auth-code", { user_name, email }),
        })],
    h("p", { class: "links" }, `${t("have_account")} `, link(t("sign_in"), "sign-in")));
}

const weaknessWords = (password, ...own) => t(weakness(password, ...own)) ?? "";

function viewForgot() {
  entrance(t("reset_title"), mailNotice(),
    codeForm({
      before: [emailField()], sent: isLogged() ? "reset_in_log" : "reset_sent",
      after: () => [codeField(t("reset_hint")), passwordField("password", t("new_password"), true)],
      askCode: ({ email }) => ask("reset-code", { email }),
      submit: t("set_password"),
      check: ({ email, password }) => ({ password: weaknessWords(password, email) }),
      send: async ({ email, reg_code, password }) => {
        await ask("reset-password", { email, reg_code, password: md5(password) });
        await logIn(email, password);
        go("projects", {}, t("password_set"));
      },
    }),
    h("p", { class: "links" }, link(t("back_to_sign_in"), "sign-in")));
}

// ---- Views: projects --------------------------------------------------------------------------

const PAGE_SIZE = 10;

// Fill a box with what an action finds; show a refusal there, with a way to try again.
async function fillBox(box, action) {
  box.replaceChildren(h("p", { class: "quiet" }, t("loading")));
  try {
    const found = await action();
    if (box.isConnected) box.replaceChildren(...[found].flat(9).filter(Boolean));
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    if (box.isConnected) {
      box.replaceChildren(h("p", { class: "problem", role: "alert" }, refusalWords(refusal)),
        button(t("again"), () => fillBox(box, action)));
    }
  }
}

function viewProjects({ page = 0, user = 0 }) {
  const list = h("div", { class: "stack" });
  const mine = !user || user === session().id;
  show(mine ? t("projects") : t("projects_of", { id: user }),
    h("div", { class: "head" },
      h("h1", { tabindex: -1 }, mine ? t("projects") : t("projects_of", { id: user })),
      mine && button(t("new_project"), createProject, "primary")),
    takeNotice(),
    list,
    session().isAdmin && card(t("admin"), h("p", { class: "quiet" }, t("admin_hint")), userForm(user)));
  fillBox(list, async () => {
    const { data, total } = await ask("project/list", { user_id: user, page_no: page, page_size: PAGE_SIZE });
    if (!data.list.length && page) return go("projects", { user, page: Math.max(0, Math.ceil(total / PAGE_SIZE) - 1) });
    if (!data.list.length) return emptyList(mine);
    const pills = data.list.map(() => h("span"));
    showStates(data.list, pills);
    return [
      h("ul", { class: "projects" }, data.list.map((project, n) => projectRow(project, pills[n], { page, user }))),
      total > PAGE_SIZE && pager(page, total, user, data.list.length),
    ];
  });
}

function emptyList(mine) {
  if (!mine) return h("p", { class: "card quiet" }, t("nobody"));
  return h("div", { class: "card empty" }, h("h2", {}, t("no_projects")), h("p", { class: "quiet" }, t("no_projects_text")),
    button(t("new_project"), createProject, "primary"));
}

const projectRow = (project, state, { page, user }) =>
  h("li", { class: "card project" },
    h("div", {}, h("a", { class: "title", href: hashOf("project", { id: project.id, page, user }) }, project.project_name),
      h("p", { class: "quiet" }, h("code", {}, project.project_key))),
    state, allowanceBar(project));

// The list does not tell who is paused; usage does. One request after the other, because a client
// may have only a few at once behind nginx.
async function showStates(projects, places) {
  for (const [n, { id }] of projects.entries()) {
    try {
      const { data } = await ask("project/usage", { id, days: 1 });
      if (!places[n].isConnected) return;
      places[n].replaceChildren(pill(stateOf(data.active_until)));
    } catch { return; } // the list serves without it
  }
}

function pager(page, total, user, count) {
  const to = (target, words, isPossible) => (isPossible
    ? h("a", { class: "button", href: hashOf("projects", { page: target, user }) }, words)
    : h("span", { class: "button", "aria-disabled": "true" }, words));
  const first = page * PAGE_SIZE;
  return h("nav", { class: "pager", "aria-label": t("paging") },
    to(page - 1, t("previous"), page > 0),
    h("span", { class: "quiet" }, t("range", { first: first + 1, last: first + count, total: number(total) })),
    to(page + 1, t("next"), first + count < total));
}

const wholeNumber = ({ name, from = 0, to = MAX_TIME, ...rest }) =>
  field({ name, type: "number", inputmode: "numeric", min: from, max: to, step: 1, required: true, ...rest });

function userForm(user) {
  return form({
    fields: [wholeNumber({ name: "user_id", label: t("whose"), value: user || "" })],
    submit: t("show_theirs"), kind: "",
    extra: user ? h("a", { class: "button plain", href: "#projects" }, t("show_mine")) : null,
    send: async ({ user_id }) => {
      await ask("project/list", { user_id: Number(user_id), page_size: 1 });
      go("projects", { user: Number(user_id) });
    },
  });
}

const nameAndType = (name = "", type = 1) => [
  field({ name: "project_name", label: t("project_name"), value: name, required: true, maxlength: 128, autocomplete: "off" }),
  wholeNumber({ name: "project_type", label: t("project_type"), hint: t("type_hint"), value: type }),
];

function createProject() {
  openDialog(t("new_project"), "", {
    fields: nameAndType(), submit: t("create"),
    send: async ({ project_name, project_type }) => {
      const { data: made } = await ask("project/create", { project_name, project_type: Number(project_type) });
      const { total } = await ask("project/list", { page_size: 1 });
      const page = Math.floor((total - 1) / PAGE_SIZE);
      const { data } = await ask("project/list", { page_no: page, page_size: PAGE_SIZE });
      const found = data.list.find((project) => project.project_key === made.project_key);
      const words = t("created", { name: project_name.trim() });
      if (found) go("project", { id: found.id, page }, words);
      else go("projects", { page }, words);
    },
  });
}

// ---- Views: one project -----------------------------------------------------------------------

function viewProject({ id, page = 0, user = 0 }) {
  const box = h("div", { class: "stack" });
  show(t("projects"), h("p", { class: "back" }, h("a", { href: hashOf("projects", { page, user }) }, `← ${t("back")}`)), box);
  fillBox(box, async () => {
    const { data } = await ask("project/list", { user_id: user, page_no: page, page_size: PAGE_SIZE });
    const project = data.list.find((one) => one.id === id);
    if (!project) return h("div", { class: "card empty" }, h("h1", { tabindex: -1 }, t("gone")), h("p", { class: "quiet" }, t("gone_text")));
    const { data: usage } = await ask("project/usage", { id, days: 30 });
    return projectDetails(project, usage, { page, user });
  }).then(() => {
    const title = box.querySelector("h1");
    if (title) nameView(title.textContent);
    if (document.activeElement === document.body) title?.focus();
  });
}

function projectDetails(project, usage, place) {
  const again = (words) => { announce(words); render(); };
  const until = usage.active_until;
  const isOver = until && until <= serviceNow();
  const pauseWords = () => t(until > serviceNow() ? "was_paused_early" : "was_paused", { ...named(project), time: moment(until) });
  return [
    h("div", { class: "head" },
      h("div", {}, h("h1", { tabindex: -1 }, project.project_name), pill(stateOf(until))),
      h("div", { class: "buttons" },
        button(t("edit"), () => editProject(project, again)),
        isOver ? button(t("resume"), () => setActive(project, 0, t("was_resumed", named(project)), again))
          : button(t("pause"), () => setActive(project, serviceNow(), pauseWords(), again)),
        button(t("expire"), () => expireProject(project, usage, again)),
        until && !isOver ? button(t("unexpire"), () => setActive(project, 0, t("has_no_expiry", named(project)), again)) : null,
        button(t("rotate"), () => rotateProject(project, again)),
        button(t("remove"), () => deleteProject(project, place), "danger"))),
    takeNotice(),
    h("div", { class: "columns" },
      h("div", {}, access(project)),
      h("div", {}, allowanceCard(project), usageCard(project, usage), factsCard(project))),
  ];
}

const named = (project) => ({ name: project.project_name });

// The cards with key, secret, end points and calls. The secret is hidden until asked.
function access(project) {
  const { project_key: key, project_secret: secret, end_points: points } = project;
  const credential = `${key}.${secret}`;
  const masked = (text) => (memory.isShown || !secret ? text : text.replaceAll(secret, "•".repeat(8)));
  const texts = [];
  const code = (text) => {
    const element = h("code", {}, masked(text));
    texts.push(() => { element.textContent = masked(text); });
    return element;
  };
  const value = (label, text, hint, more) => h("div", { class: "value" }, label && h("span", { class: "label" }, label), code(text),
    h("div", { class: "buttons" }, more, copyButton(label || text, () => text)), hint && h("p", { class: "hint" }, hint));
  const toggle = button("", () => { memory.isShown = !memory.isShown; drawToggle(); texts.forEach((update) => update()); }, "small");
  function drawToggle() {
    toggle.textContent = t(memory.isShown ? "hide" : "show");
    toggle.setAttribute("aria-label", t(memory.isShown ? "hide_secret" : "show_secret"));
  }
  drawToggle();
  return [
    card(t("credentials"), h("div", { class: "values" },
      value(t("key"), key),
      secret ? [value(t("secret"), secret, t("secret_private"), toggle), value(t("credential"), credential, t("credential_hint"))]
        : notice(t("lost_secret"), "warning"),
      points.map((point, n) => value(n ? "" : t("end_points"), point)))),
    secret && card(t("calls"), tabs(t("calls"), callsOf(project).map(([name, call, remark]) => [name, () => [
      remark && h("p", { class: "hint" }, remark),
      h("pre", { tabindex: 0, role: "region", "aria-label": name }, code(call)),
      copyButton(name, () => call, t("copy_call")),
    ].filter(Boolean)]))),
  ];
}

function allowanceCard(project) {
  const { request_today: used, request_max: max } = project;
  return card(t("allowance"),
    max ? h("p", { class: "figure" }, used < max ? t("left", { left: number(max - used) }) : t("none_left")) : null,
    allowanceBar(project),
    h("p", { class: "hint" }, max ? t("begins_anew", SERVICE) : t("no_limit")));
}

function usageCard(project, usage) {
  const total = usage.list.reduce((sum, day) => sum + day.requests, 0);
  return card(t("usage"),
    h("p", { class: "quiet" }, `${t("usage_sum", { total: number(total) })} `,
      usage.last_used ? t("last_used", { day: dayName(usage.last_used, { dateStyle: "medium" }) }) : t("never_used")),
    usageChart(usage.list, project.request_max), usageTable(usage.list));
}

const factsCard = (project) => card(t("facts"), facts([
  [t("id"), project.id],
  [t("project_type"), project.project_type],
  [t("created_at"), `${project.created_time} (${SERVICE.zone})`],
  [t("total"), number(project.request_total)],
  [t("pool"), project.pool_name || t("none")],
]));

const facts = (pairs) => h("dl", { class: "facts" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

function editProject(project, done) {
  openDialog(t("edit_title"), "", {
    fields: nameAndType(project.project_name, project.project_type), submit: t("save"),
    send: ({ project_name, project_type }) =>
      ask("project/edit", { id: project.id, project_name, project_type: Number(project_type) }),
    done: () => done(t("edited")),
  });
}

async function setActive(project, until, words, done) {
  try {
    await ask("project/edit", { id: project.id, active_until: until });
    done(words);
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    announce(refusalWords(refusal));
  }
}

function expireProject(project, usage, done) {
  const suggested = usage.active_until > serviceNow() ? usage.active_until : serviceNow() + 30 * 86400;
  const local = new Date(1000 * suggested - 60000 * new Date(1000 * suggested).getTimezoneOffset());
  const secondsOf = (value) => Math.floor(new Date(value).getTime() / 1000);
  const isOver = usage.active_until && usage.active_until <= serviceNow();
  openDialog(t("expire_title"), t(isOver ? "expire_paused" : "expire_text"), {
    fields: [field({
      name: "active_until", label: t("active_until"), type: "datetime-local", required: true, value: local.toISOString().slice(0, 16),
      hint: t("local_zone", { zone: Intl.DateTimeFormat().resolvedOptions().timeZone }),
    })],
    submit: t("save"),
    check: ({ active_until: value }) => {
      const until = secondsOf(value);
      if (!value) return {};
      if (Number.isNaN(until)) return { active_until: t("not_a_date") };
      return { active_until: until <= serviceNow() ? t("in_past") : until > MAX_TIME ? t("too_late") : "" };
    },
    send: ({ active_until: value }) => ask("project/edit", { id: project.id, active_until: secondsOf(value) }),
    done: ({ active_until: value }) => done(t("will_expire", { ...named(project), time: moment(secondsOf(value)) })),
  });
}

function rotateProject(project, done) {
  openDialog(t("rotate_title"), t("rotate_text"), {
    fields: [wholeNumber({ name: "grace_hours", label: t("grace_hours"), hint: t("grace_hint"), to: 168, value: 24 })],
    submit: t("rotate"),
    send: ({ grace_hours }) => ask("project/rotate", { id: project.id, grace_hours: Number(grace_hours) }),
    done: () => { memory.isShown = true; done(t("rotated")); },
  });
}

function deleteProject(project, place) {
  // Of a name that nobody sees, nothing can be typed; the key is as sure a sign of what is meant.
  const name = seen(project.project_name) || project.project_key;
  openDialog(t("delete_title", named(project)), t("delete_text"), {
    fields: [field({ name: "confirm", label: t("type_name", { name }), autocomplete: "off", required: true })],
    submit: t("remove"), kind: "danger solid",
    check: ({ confirm }) => ({ confirm: confirm.trim() && seen(confirm) !== name ? t("names_differ", { name }) : "" }),
    send: () => ask("project/delete", { id: project.id }),
    done: () => go("projects", place, t("deleted", named(project))),
  });
}

// ---- Views: account ---------------------------------------------------------------------------

function viewAccount() {
  const { name, id, isAdmin, isPlain, time, ip, version } = session();
  show(t("account"), h("h1", { tabindex: -1 }, t("account")), takeNotice(), h("div", { class: "columns" },
    h("div", {},
      card(t("your_account"), facts([
        [t("user_name"), name], [t("id"), id], [t("role"), t(isAdmin ? "admin" : "user")],
        [t("this_login"), t("from", { time: moment(time), ip })], [t("version"), version],
      ]), h("p", { class: "hint" }, t(isPlain ? "plain_note" : "digest_note")),
      h("div", { class: "buttons" }, button(t("log_out"), logOut))),
      card(t("change_password"), h("p", { class: "quiet" }, t("change_password_text")), form({
        fields: [ownName(), passwordField("old_password", t("old_password")), passwordField("new_password", t("new_password"), true)],
        submit: t("change_password"),
        check: ({ new_password }) => ({ new_password: new_password && weaknessWords(new_password, name) }),
        send: async ({ old_password, new_password }) => {
          await ask("platform/change-password", { old_password: passwordOf(old_password), new_password: passwordOf(new_password) });
          announce(t("password_changed"));
          render();
        },
      }))),
    h("div", {},
      card(t("change_email"), h("p", { class: "quiet" }, t("change_email_text")), mailNotice(), codeForm({
        before: [emailField(t("new_email"))], sent: isLogged() ? "code_in_log" : "code_sent",
        after: () => [codeField(t("code_hint", SERVICE)), ownName(), passwordField("password", t("old_password"))],
        askCode: ({ email }) => ask("platform/email-code", { email }),
        submit: t("change_email"), check: () => ({}),
        send: async ({ email, reg_code, password }) => {
          await ask("platform/change-email", { email, reg_code, password: passwordOf(password) });
          memory.codeFor = "";
          announce(t("email_changed"));
          render();
        },
      })),
      card(t("leave"), h("p", { class: "quiet" }, t("leave_text")),
        h("div", { class: "buttons" }, button(t("leave_button"), leave, "danger"))))));
}

function leave() {
  const { name } = session();
  openDialog(t("leave_title"), t("leave_text"), {
    fields: [
      field({ name: "confirm", label: t("type_name", { name }), autocomplete: "off", required: true }),
      ownName(), passwordField("password", t("old_password")),
    ],
    submit: t("leave_confirm"), kind: "danger solid",
    check: ({ confirm }) => ({ confirm: confirm.trim() && seen(confirm) !== seen(name) ? t("names_differ", { name }) : "" }),
    send: ({ password }) => ask("platform/delete-account", { password: passwordOf(password) }),
    done: () => endSession("left_us"),
  });
}

async function logOut() {
  await ask("platform/logout").catch(() => {}); // the token leaves this browser in any case
  endSession("logged_out");
}

// ---- Routes -----------------------------------------------------------------------------------
// The part of the address after "#" names a view and its numbers: #project?id=5&page=1

const ENTRANCE = { "sign-in": viewSignIn, register: viewRegister, forgot: viewForgot };
const VIEWS = { projects: viewProjects, project: viewProject, account: viewAccount };
let memory = {}; // what a view keeps until another one is opened
let wanted = ""; // where to go after logging in
let pending = ""; // what the next view has to say

function hashOf(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value);
  return `#${view}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

function go(view, params, words = "") {
  pending = words;
  const hash = hashOf(view, params);
  if (location.hash === hash) openView();
  else location.hash = hash;
}

function takeNotice() {
  const words = pending;
  pending = "";
  return words && h("p", { class: "notice good", role: "status" }, words);
}

// Put a view on the page, and the focus on its title.
function show(title, ...nodes) {
  main.replaceChildren(...nodes.flat(9).filter(Boolean));
  nameView(title);
  main.querySelector("h1")?.focus();
}

function nameView(title) {
  document.title = `${title} · ${SERVICE.service}`;
}

function openView() {
  memory = {};
  announce("");
  render();
}

function render() {
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const [name, query] = location.hash.slice(1).split("?");
  const isIn = Boolean(session());
  const views = isIn ? VIEWS : ENTRANCE;
  if (!(name in views)) {
    if (name in VIEWS) wanted = location.hash;
    history.replaceState(null, "", isIn ? "#projects" : "#sign-in");
    return render();
  }
  document.documentElement.lang = t("tag");
  drawTop(name);
  const params = Object.fromEntries([...new URLSearchParams(query)].map(([key, value]) => [key, Number(value) || 0]));
  return views[name](params);
}

function drawTop(name) {
  const page = (view, words) => h("a", { href: `#${view}`, "aria-current": name === view ? "page" : null }, words);
  document.getElementById("top").replaceChildren(
    h("a", { class: "brand", href: "#projects" }, h("img", { src: "console/icon.svg", alt: "", width: 28, height: 28 }), SERVICE.service),
    h("nav", { "aria-label": t("nav") }, session() && [page("projects", t("projects")), page("account", t("account"))],
      h("a", { href: "docs" }, t("api"))),
    h("div", { class: "tools" },
      button(t("other"), switchLanguage, "plain", { id: "language", lang: t("other_tag") }),
      session() && button(t("log_out"), logOut, "plain")));
}

// Show the same view in the other language, with what has been typed.
function switchLanguage() {
  const typed = [...main.querySelectorAll("input")].map(({ name, value }) => [name, value]);
  language = language === "en" ? "zh" : "en";
  announce("");
  try { localStorage.setItem("language", language); } catch { /* not kept, then */ }
  render();
  const inputs = [...main.querySelectorAll("input")];
  typed.forEach(([name, value], n) => { if (inputs[n]?.name === name) inputs[n].value = value; });
  document.getElementById("language").focus();
}

addEventListener("hashchange", openView);
openView();
