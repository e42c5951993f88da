// The words of the page. Both languages have the same keys. {name} is replaced by a value; before
// the "|" stands what is said of one.

import { keep, recall } from "./store.js";

export const WORDS = {
  en: {
    tag: "en", other: "中文", other_tag: "zh-Hans", nav: "Pages", projects: "Projects", account: "Account", api: "API", log_out: "Log out",
    cancel: "Cancel", save: "Save", show: "Show", hide: "Hide", show_secret: "Show secret", hide_secret: "Hide secret", copy: "Copy",
    copy_failed: "The browser does not allow copying; select the text and copy it by hand", loading: "Loading …", again: "Try again", today: "Today",
    step_1: "Register with a code sent by mail.", step_2: "Create a project; it gets a key and a secret.",
    step_3: "Copy a ready-made call and send your first request.", sign_in: "Log in", register: "Register", create_account: "Create account",
    forgot: "Forgotten password?", no_account: "No account yet?", have_account: "Already registered?", back_to_sign_in: "Back to log in",
    name_or_email: "User name or e-mail address", user_name: "User name", email: "E-mail address", password: "Password", new_password: "New password",
    old_password: "Current password", reg_code: "Code", name_hint: "Letters and digits of any script, and _ - .",
    password_hint: "At least 8 characters.", code_hint: "{digits} digits, valid for 10 minutes.", reset_hint: "8 digits, valid for 10 minutes.",
    invitation_hint: "The digits of your invitation, which is valid for 7 days.", send_code: "Send me a code", send_again: "Send another code",
    code_sent: "A code is on its way to {email}.", code_in_log: "The code for {email} is in the terminal now.",
    reset_sent: "If {email} has an account, a code is on its way there.", reset_in_log: "If {email} has an account, its code appears in the terminal.",
    mails_log: "This service sends no mails yet: the code appears in the terminal where the service runs.",
    mails_none: "This service cannot send mails yet, so it cannot send codes. Ask the people who run it.",
    closed: "Registration is closed here. Ask the people who run this service for an account.",
    invited: "Registration is by invitation: enter the address that was invited and the code of that mail.", reset_title: "Forgotten password",
    set_password: "Set new password", session_ended: "Your session has ended. Log in again to go on.", logged_out: "You are logged out.",
    welcome: "Welcome, {name}. Create your first project.", password_set: "The new password is set, and you are logged in.", new_project: "New project",
    no_projects: "No projects yet", no_projects_text: "A project has a key and a secret, with which your programs call the API.", previous: "Previous",
    next: "Next", paging: "Pages of the list", active: "Active", expires: "Expires {time}", paused_since: "Paused since {time}",
    create: "Create project", project_name: "Name", project_type: "Type", type_hint: "A number of your own choice, for example for a category.",
    created: "{name} is created. Its key and secret are below.", gone: "This project is not here", back: "All projects", credentials: "Key and secret",
    key: "Key", secret: "Secret", credential: "Key.secret in one", credential_hint: "For clients that take one API key.",
    lost_secret: "The service cannot read this secret any more. Rotate it to get a new one.", end_points: "End points", calls: "Ready-made calls",
    try_here: "Try it here",
    try_hint: "This asks the service itself, as nginx does, and counts one request: 204 means yes. It needs no servers behind nginx.",
    copy_call: "Copy call", usage: "The last 30 days", never_used: "Not used yet.", last_used: "Last used on {day}.", chart: "Requests a day",
    chart_hint: "Arrow keys move from day to day.", as_table: "Show as a table", day: "Day", requests: "Requests", facts: "About this project", id: "Id",
    created_at: "Created", total: "Requests in all", pool: "Pool", edit: "Edit", pause: "Pause", resume: "Resume", expire: "Set expiry",
    unexpire: "Remove expiry", rotate: "Rotate secret", remove: "Delete", edit_title: "Edit project", edited: "The project is changed.",
    was_resumed: "{name} is active again.", has_no_expiry: "{name} has no expiry any more.", expire_title: "Set expiry", active_until: "Active until",
    expire_text: "From this moment on, requests of the project are refused.", local_zone: "In your time zone, {zone}.",
    in_past: "This moment has passed; to stop the project now, use Pause.", too_late: "The latest possible moment is 19 January 2038.",
    will_expire: "{name} will pause at {time}.", rotate_title: "Rotate secret",
    rotate_text: "The project gets a new secret under the same key. Choose how long the old secret goes on working.", grace_hours: "Hours of grace",
    grace_hint: "0 to 168. With 0 the old secret stops at once.", rotated: "The project has a new secret; it is shown below.",
    delete_title: "Delete {name}?", delete_text: "Its key stops working at once. This cannot be undone.", type_name: "Type the name {name} to confirm",
    names_differ: "This is not {name}.", deleted: "{name} is deleted.", your_account: "Your account", this_login: "This log-in",
    from: "{time}, from {ip}", role: "Role", admin: "Admin", user: "User", version: "Version of the service", change_password: "Change password",
    change_password_text: "You stay logged in here; every other session ends.", password_changed: "The password is changed.",
    change_email: "Change e-mail address", change_email_text: "A code proves the new address. The old address gets a mail about the change.",
    new_email: "New e-mail address", email_changed: "The address is changed.", leave: "Leave",
    leave_text: "This erases your account with its projects, keys and usage, for good.", leave_button: "Delete account …",
    leave_title: "Delete your account?", leave_confirm: "Delete account", left_us: "Your account and all its projects are erased.",
    required: "Please fill this in.", short: "At least 8 characters.", not_a_date: "This date does not exist.",
    users: "Users", search_users: "Search by name, address or id", actions: "Actions", banned: "Banned", projects_n: "1 project|{n} projects",
    limit: "Limit projects", ban: "Ban", unban: "Unban", ban_title: "Ban {name}?", ban_text: "Log-ins and keys of this account are refused at once.",
    was_banned: "{name} is banned.", was_unbanned: "{name} is not banned any more.", limit_title: "Projects of {name}", projects_max: "Projects at most",
    projects_max_hint: "Empty for the service's default; 0 allows none.",
    refusal: {
      "admin/user-edit 1000": "Nobody bans himself or the last admin.", "admin/user-list 1000": "Only admins see this.",
      404: "This service is older than this page. Load the page anew.", 413: "This is too much text.", 429: "Too many requests. Try again in {wait}.",
      500: "Something went wrong in the service. Try again soon.", 501: "The database is unavailable. Try again soon.",
      502: "The service does not answer right now. Try again soon.", 503: "The service does not answer right now. Try again soon.",
      504: "The service does not answer right now. Try again soon.", 1000: "This belongs to another user, or this service does not allow it.",
      1001: "Your session has ended. Log in again to go on.", 1002: "The user name or the password is wrong.",
      1003: "The service does not accept this.", 1004: "The service does not accept this.",
      1005: "This user name is taken; choose another one.", 1006: "There is no such record; it may have been deleted.",
      1008: "The code is wrong, used, expired or out of tries. Check it, or ask for another one.", 1009: "A limit of this account is reached.",
      1012: "This account is banned. Ask the people who run this service.", 1018: "This address already has an account.",
      1029: "The mail could not be sent. Try again soon.", network: "The service does not answer. Is it running, and are you connected?",
      "platform/change-password 1002": "The password is wrong.", "platform/change-email 1002": "The password is wrong.",
      "platform/delete-account 1002": "The password is wrong.",
      "platform/delete-account 1000": "You are the last admin. Let another account become an admin first.",
      "auth-code 1000": "Registration is not open here. Ask the people who run this service for an account.",
      "register 1000": "Registration is by invitation: enter the address that was invited and the code of that mail.",
      "project/edit 1000": "The people who run this service have paused this project or set its limits.",
      "project/create 1009": "This account has as many projects as it may have, or has made as many as a day allows.",
      unexpected: "What came is no answer of this service. Try again soon.", other: "The service refuses this ({code}): {message}",
    },
    problem: {
      "new-password": "Choose another one: 8 to 128 characters, none of the commonest passwords, and not your own name or address.",
      "current-password": "A password has at most 128 characters.",
      user_name: "1 to 64 letters and digits of any script, _ - and . are needed; the first is a letter or a digit.",
      email: "An address like name@example.com is needed, at which mail arrives.", domain: "An address at {domains} is needed.",
      reg_code: "Only the digits of the code are needed.", project_name: "1 to 128 visible characters are needed.", other: "This is not accepted.",
    },
    or: " or ", seconds: "{n} seconds", minutes: "{n} minutes", hours: "{n} hours", copied: "Copied", failed: "This page could not be shown",
    broken: "Something in this page broke. Your data is safe with the service.", intro: "Create API keys and watch their usage.",
    one_tab: "Each tab of the browser logs in by itself, so that no other page of this host can read the session.", have_code: "I have a code",
    change: "Change", registered: "Your account is created. Log in.", reset_done: "The new password is set. Log in.",
    log_out_untold: "This browser has forgotten the session, but the service could not be told: until {time} the session is still valid where it was copied.",
    cancelled: "Cancelled before an answer came. See whether it was done all the same.", search: "Search by name or key",
    nothing_found: "No project has “{text}” in its name or key.", nobody: "This user has no projects.", projects_of: "Projects of {name}",
    range: "{first}–{last} of {total}", requests_n: "1 request|{n} requests", used_of: "{used} of {max} requests",
    used_up_of: "Used up: {used} of {max} requests", used_no_limit: "1 request, no limit|{n} requests, no limit", day_used_up: "Used up for today",
    month_used_up: "Used up for this month", gone_text: "It was deleted, or it belongs to another account.",
    secret_private: "Whoever has the secret can use up the quota. Keep it out of public pages and repositories.",
    no_end_points: "This service names no end points yet. Ask the people who run it where to send requests.",
    old_secret: "The old secret works until {time}.", limits: "Limits", day_limit: "Today", month_limit: "This month", rate_limit: "Rate",
    a_minute: "At most 1 request a minute|At most {n} requests a minute", day_begins: "Resets at midnight ({zone}).", set_limits: "Set limits",
    zero_is_none: "0 for no limit.", email_unknown: "Not shown, because you logged in with your user name.", blocked: "Blocked",
    blocked_text: "The people who run this service have blocked this project: its requests are refused. Ask them.",
    block: "Block", unblock: "Unblock", was_blocked: "{name} is blocked; its owner cannot resume it.",
    was_unblocked: "{name} is not blocked any more.", usage_sum: "1 request in 30 days.|{n} requests in 30 days.",
    on_day: "{day}: 1 request|{day}: {n} requests", limit_line: "quota", was_paused: "{name} is paused. Its requests are refused from now on.",
    undo: "Undo", was_paused_early: "{name} is paused. Its requests are refused from now on, and its expiry is gone.",
    expire_paused: "The project is paused now. Saving resumes it now and pauses it again at the time below.",
    whole_number: "A whole number from {from} to {to} is needed.",
    lost: {
      "admin/user-edit": "No answer came. See here whether the change was made.",
      register: "No answer came. Your account may have been created: try to log in before you register again.",
      "reset-password": "No answer came. The new password may be set: try to log in with it.",
      "project/create": "No answer came. The project may have been created: look for it in this list before you create it again.",
      "project/edit": "No answer came. See here whether the change was made.",
      "project/rotate": "No answer came. Show the secret to see whether it is a new one.",
      "project/delete": "No answer came. See in the list whether the project is still there.",
      "platform/change-password": "No answer came. The new password may be set: try it before you change it again.",
      "platform/change-email": "No answer came. The address may be changed: the old one then gets a mail.",
      "platform/delete-account": "No answer came. If the account is erased, this page soon asks you to log in.",
    },
  },
  zh: {
    tag: "zh-Hans", other: "English", other_tag: "en", nav: "页面", projects: "项目", account: "账户", api: "API 文档", log_out: "退出登录", cancel: "取消",
    save: "保存", show: "显示", hide: "隐藏", show_secret: "显示 Secret", hide_secret: "隐藏 Secret", copy: "复制", copy_failed: "浏览器不允许复制，请选中文字后手动复制",
    loading: "正在加载……", again: "重试", today: "今天", step_1: "用邮件验证码注册。", step_2: "创建项目，得到 Key 和 Secret。", step_3: "复制现成的调用代码，发出第一个请求。", sign_in: "登录",
    register: "注册", create_account: "创建账户", forgot: "忘记密码？", no_account: "还没有账户？", have_account: "已经注册？", back_to_sign_in: "返回登录",
    name_or_email: "用户名或邮箱地址", user_name: "用户名", email: "邮箱地址", password: "密码", new_password: "新密码", old_password: "当前密码", reg_code: "验证码",
    name_hint: "可用各种文字的字母和数字，以及 _ - .", password_hint: "至少 8 个字符。", code_hint: "{digits} 位数字，10 分钟内有效。", reset_hint: "8 位数字，10 分钟内有效。",
    invitation_hint: "邀请邮件中的数字，7 天内有效。", send_code: "发送验证码", send_again: "重新发送验证码", code_sent: "验证码已发往 {email}。", code_in_log: "{email} 的验证码已显示在终端中。",
    reset_sent: "如果 {email} 已注册，验证码已发往该地址。", reset_in_log: "如果 {email} 已注册，验证码会显示在终端中。", mails_log: "本服务目前不发送邮件：验证码会显示在运行服务的终端里。",
    mails_none: "本服务还不能发送邮件，因此无法发送验证码。请联系服务的运营者。", closed: "本服务不开放注册。请向运营者申请账户。", invited: "本服务仅限受邀注册：请填写受邀的邮箱地址和邀请邮件中的验证码。", reset_title: "忘记密码",
    set_password: "设置新密码", session_ended: "登录已失效，请重新登录。", logged_out: "您已退出登录。", welcome: "欢迎，{name}。请创建您的第一个项目。", password_set: "新密码已设置，您已登录。",
    new_project: "新建项目", no_projects: "还没有项目", no_projects_text: "每个项目都有 Key 和 Secret，您的程序用它们调用 API。", previous: "上一页", next: "下一页", paging: "列表分页",
    active: "使用中", expires: "{time} 到期", paused_since: "{time} 起暂停", create: "创建项目", project_name: "名称", project_type: "类型",
    type_hint: "由您自定的数字，例如用作分类。", created: "项目“{name}”已创建，Key 和 Secret 如下。", gone: "找不到这个项目", back: "全部项目", credentials: "Key 和 Secret", key: "API Key",
    secret: "API Secret", credential: "合并写法（Key.Secret）", credential_hint: "用于只接受一个 API key 的客户端。", lost_secret: "服务已无法读取这个 Secret。请更换 Secret。",
    end_points: "接入地址", calls: "现成的调用代码", try_here: "就地试用", try_hint: "它像 nginx 那样直接询问本服务，并计一次请求：返回 204 表示允许。不需要 nginx 后面的服务器。", copy_call: "复制代码",
    usage: "最近 30 天", never_used: "尚未使用。", last_used: "最近使用：{day}。", chart: "每天的请求数", chart_hint: "用方向键逐日查看。", as_table: "以表格显示", day: "日期",
    requests: "请求数", facts: "项目信息", id: "编号", created_at: "创建时间", total: "累计请求数", pool: "资源池", edit: "编辑", pause: "暂停", resume: "恢复", expire: "设置到期时间",
    unexpire: "取消到期时间", rotate: "更换 Secret", remove: "删除", edit_title: "编辑项目", edited: "项目已修改。", was_resumed: "项目“{name}”已恢复使用。",
    has_no_expiry: "项目“{name}”不再有到期时间。", expire_title: "设置到期时间", active_until: "有效期至", expire_text: "从这一刻起拒绝该项目的请求。", local_zone: "按您的时区：{zone}。",
    in_past: "这个时间已经过去；要立即停用，请使用“暂停”。", too_late: "最晚可设到 2038 年 1 月 19 日。", will_expire: "项目“{name}”将于 {time} 暂停。", rotate_title: "更换 Secret",
    rotate_text: "Key 不变，项目得到新的 Secret。请选择旧 Secret 继续有效的时间。", grace_hours: "宽限小时数", grace_hint: "0 到 168。填 0 则旧 Secret 立即失效。",
    rotated: "项目已有新的 Secret，显示如下。", delete_title: "删除“{name}”？", delete_text: "它的 Key 立即失效，并且无法恢复。", type_name: "请输入名称 {name} 以确认",
    names_differ: "这与 {name} 不符。", deleted: "项目“{name}”已删除。", your_account: "您的账户", this_login: "本次登录", from: "{time}，来自 {ip}", role: "角色", admin: "管理员",
    user: "普通用户", version: "服务版本", change_password: "修改密码", change_password_text: "您在这里保持登录，其他登录全部失效。", password_changed: "密码已修改。",
    change_email: "更换邮箱地址", change_email_text: "新地址需用验证码确认，旧地址会收到通知邮件。", new_email: "新邮箱地址", email_changed: "邮箱地址已更换。", leave: "注销账户",
    leave_text: "永久删除您的账户及其项目、Key 和用量记录。", leave_button: "注销账户……", leave_title: "注销您的账户？", leave_confirm: "注销账户", left_us: "您的账户及全部项目已删除。",
    required: "请填写此项。", short: "至少 8 个字符。", not_a_date: "这个日期不存在。",
    users: "用户", search_users: "按名称、邮箱或编号搜索", actions: "操作", banned: "已封禁", projects_n: "{n} 个项目",
    limit: "限制项目数", ban: "封禁", unban: "解除封禁", ban_title: "封禁“{name}”？", ban_text: "该账户的登录和 Key 立即被拒绝。",
    was_banned: "“{name}”已封禁。", was_unbanned: "“{name}”已解除封禁。", limit_title: "“{name}”的项目数", projects_max: "最多项目数",
    projects_max_hint: "留空则按服务的默认值；0 表示不允许。",
    refusal: {
      "admin/user-edit 1000": "不能封禁自己，也不能封禁最后一位管理员。", "admin/user-list 1000": "只有管理员可以查看。",
      404: "服务的版本比此页旧，请重新加载此页。", 413: "内容过长。", 429: "请求过于频繁，请在 {wait}后再试。", 500: "服务内部出错，请稍后再试。", 501: "数据库暂时不可用，请稍后再试。", 502: "服务暂时没有响应，请稍后再试。",
      503: "服务暂时没有响应，请稍后再试。", 504: "服务暂时没有响应，请稍后再试。", 1000: "这属于其他用户，或者本服务不允许此操作。", 1001: "登录已失效，请重新登录。", 1002: "用户名或密码错误。", 1003: "服务不接受此内容。",
      1004: "服务不接受此内容。", 1005: "用户名已被使用，请换一个。", 1006: "找不到该记录，可能已被删除。", 1008: "验证码错误、已使用、已过期或尝试次数已用完。请核对，或重新获取。", 1009: "已达到账户的上限。",
      1012: "该账户已被封禁，请联系服务的运营者。", 1018: "该邮箱地址已注册。", 1029: "邮件发送失败，请稍后再试。", network: "服务没有响应。它在运行吗？网络是否正常？", "platform/change-password 1002": "密码错误。",
      "platform/change-email 1002": "密码错误。", "platform/delete-account 1002": "密码错误。", "platform/delete-account 1000": "您是最后一位管理员，请先让另一个账户成为管理员。",
      "auth-code 1000": "本服务不开放注册。请向运营者申请账户。", "register 1000": "本服务仅限受邀注册：请填写受邀的邮箱地址和邀请邮件中的验证码。", "project/edit 1000": "运营者已暂停这个项目，或设定了它的限额。",
      "project/create 1009": "账户的项目数已达上限，或一天内创建的项目已达上限。", unexpected: "收到的不是本服务的答复，请稍后再试。", other: "服务拒绝了此操作（{code}）：{message}",
    },
    problem: {
      "new-password": "请换一个密码：8 到 128 个字符，不能太常见，也不能是您的用户名或邮箱地址。", "current-password": "密码最长 128 个字符。",
      user_name: "须为 1 到 64 个字符：各种文字的字母和数字，以及 _ - . ，首字符是字母或数字。", email: "请填写类似 name@example.com、能收到邮件的地址。", domain: "请使用 {domains} 的邮箱地址。",
      reg_code: "请只填写验证码的数字。", project_name: "须为 1 到 128 个可见字符。", other: "此内容不被接受。",
    },
    or: "或", seconds: "{n} 秒", minutes: "{n} 分钟", hours: "{n} 小时", copied: "已复制", failed: "无法显示此页", broken: "此页出错了。您的数据在服务中是安全的。",
    intro: "创建 API Key，查看用量。", one_tab: "浏览器的每个标签页分别登录，这样本主机的其他网页无法读取登录信息。", have_code: "我已有验证码", change: "更改", registered: "账户已创建，请登录。",
    reset_done: "新密码已设置，请登录。", log_out_untold: "本浏览器已清除登录信息，但未能通知服务：如果登录信息曾被复制，它在 {time} 之前仍然有效。", cancelled: "在收到答复之前已取消。请查看操作是否仍然生效。",
    search: "按名称或 Key 搜索", nothing_found: "没有名称或 Key 含“{text}”的项目。", nobody: "该用户没有项目。", projects_of: "{name} 的项目",
    range: "第 {first}–{last} 个，共 {total} 个", requests_n: "{n} 次请求", used_of: "已用 {used} 次，共 {max} 次", used_up_of: "已用完：{used} 次，共 {max} 次",
    used_no_limit: "已用 {n} 次，不限量", day_used_up: "今天已用完", month_used_up: "本月已用完", gone_text: "它已被删除，或者属于其他账户。",
    secret_private: "得到 Secret 的人可以用掉您的配额。请勿放入公开的网页或代码仓库。", no_end_points: "本服务尚未公布接入地址。请向运营者询问请求应发往何处。", old_secret: "旧 Secret 在 {time} 之前有效。",
    limits: "限额", day_limit: "今天", month_limit: "本月", rate_limit: "速率", a_minute: "每分钟最多 {n} 次请求", day_begins: "每天午夜（{zone}）重新计数。", set_limits: "设置限额",
    zero_is_none: "填 0 表示不限。", blocked: "已封停", blocked_text: "本服务的运营者已封停这个项目，它的请求会被拒绝。请联系他们。",
    email_unknown: "您以用户名登录，因此未显示。", block: "封停", unblock: "解除封停", was_blocked: "项目“{name}”已封停，其所有者无法恢复。", was_unblocked: "项目“{name}”已解除封停。",
    usage_sum: "30 天共 {n} 次请求。", on_day: "{day}：{n} 次请求", limit_line: "配额", was_paused: "项目“{name}”已暂停，从现在起拒绝它的请求。", undo: "撤销",
    was_paused_early: "项目“{name}”已暂停，从现在起拒绝它的请求；原定的到期时间已取消。", expire_paused: "项目现已暂停。保存后立即恢复使用，并在下面的时间再次暂停。", whole_number: "请填写 {from} 到 {to} 的整数。",
    lost: {
      "admin/user-edit": "没有收到答复。请在此查看修改是否生效。",
      register: "没有收到答复。账户可能已经创建：请先尝试登录，再决定是否重新注册。", "reset-password": "没有收到答复。新密码可能已经设置：请尝试用它登录。",
      "project/create": "没有收到答复。项目可能已经创建：请先在列表中查找，再决定是否重新创建。", "project/edit": "没有收到答复。请在此查看修改是否生效。", "project/rotate": "没有收到答复。请显示 Secret，查看它是否已更换。",
      "project/delete": "没有收到答复。请在列表中查看项目是否还在。", "platform/change-password": "没有收到答复。新密码可能已经设置：请先试用，再决定是否重新修改。",
      "platform/change-email": "没有收到答复。地址可能已经更换：旧地址会因此收到邮件。", "platform/delete-account": "没有收到答复。如果账户已删除，此页很快会要求您登录。",
    },
  },
};

const preferred = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => Object.hasOwn(WORDS, tag));
let language = Object.hasOwn(WORDS, recall("language", "localStorage")) ? recall("language", "localStorage") : preferred ?? "en";

export const currentLanguage = () => language;

// Go on in a language, also at the next visit.
export function speak(chosen) {
  language = chosen;
  keep("language", chosen, "localStorage");
}

// Return the words of a key like "save" or "refusal.1005", undefined if there are none.
export function t(key, values = {}) {
  const text = key.split(".").reduce((words, part) => (words && Object.hasOwn(words, part) ? words[part] : undefined), WORDS[language]);
  if (text === undefined) return undefined;
  const [one, many = one] = text.split("|");
  return (values.n === 1 ? one : many).replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name] ?? whole;
    return typeof value === "number" ? number(value) : value;
  });
}

export const number = (value) => new Intl.NumberFormat(t("tag")).format(value);
export const moment = (seconds, options = {}) =>
  new Intl.DateTimeFormat(t("tag"), { dateStyle: "medium", timeStyle: "short", ...options }).format(1000 * seconds);
// A time of the service's clock like "2024-03-07 15:44:43", and a day like "2024-03-07". No time zone may move them.
export const wallTime = (text) => moment(Date.parse(`${text.replace(" ", "T")}Z`) / 1000, { timeZone: "UTC" });
export const dayName = (text, options) =>
  new Intl.DateTimeFormat(t("tag"), { timeZone: "UTC", ...options }).format(new Date(`${text}T00:00:00Z`));
export const day = (text) => dayName(text, { dateStyle: "medium" });
export const waitWords = (seconds) =>
  seconds < 120 ? t("seconds", { n: seconds })
    : seconds < 7200 ? t("minutes", { n: Math.ceil(seconds / 60) }) : t("hours", { n: Math.ceil(seconds / 3600) });
