(ns demo.page
  "HTML of the demo: one layout for all pages, each with the code that serves it. No library, so that the demo needs
  the jar alone."
  (:require [clojure.repl   :as repl]
            [clojure.string :as str]))

(defn escape
  "Text as HTML."
  [x]
  (str/escape (str x) {\& "&amp;" \< "&lt;" \> "&gt;" \" "&quot;" \' "&#39;"}))

(def pages
  "What there is to see: path, title, what it shows, and the functions that serve it."
  [["/request" "Request"     "The Ring request map that a handler gets, as a table."
    '[demo.app/request-page]]
   ["/json"    "JSON"        "A response with a content type of its own, fetched by the page."
    '[demo.app/json-data]]
   ["/upload"  "Upload"      "A file as a request body, in memory once, with a size limit."
    '[demo.app/upload demo.app/sha-256]]
   ["/slow"    "Slow stream" "A body that is an InputStream: each line is sent when it is there."
    '[demo.app/slow-lines demo.app/slow-line]]
   ["/error"   "Error"       "What the client and the log get when a handler throws."
    '[demo.app/failing]]
   ["/chat"    "Chat"        "WebSockets: a message from one tab goes to all."
    '[demo.live/chat-socket demo.live/tell-all]]
   ["/clock"   "Clock"       "Server-sent events: one response that stays open, one event a second."
    '[demo.live/clock-stream demo.live/tick]]
   ["/inbox"   "Inbox"       "Long polling: a request is held until there is a message."
    '[demo.live/wait-for-message demo.live/post-message demo.live/join demo.live/add]]])

(def ^:private style
  ":root{color-scheme:light dark;--back:#fff;--text:#1d2125;--soft:#5a6470;--line:#d8dde3;--box:#f5f7f9;--link:#0a58a5;
     --mark:#e3eefa;--note:#6a737d;--string:#0a6b3d;--word:#8a3fa0}
   @media (prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e7ea;--soft:#a3adb8;--line:#363d45;--box:#1e2328;
     --link:#7ab8ff;--mark:#20344a;--note:#939da8;--string:#7fd6a4;--word:#d6a2e8}}
   *{box-sizing:border-box}
   body{font:16px/1.5 system-ui,sans-serif;margin:0;background:var(--back);color:var(--text)}
   nav,main{max-width:76rem;margin:0 auto;padding:.75rem 1rem}
   nav{display:flex;flex-wrap:wrap;gap:.15rem .25rem;border-bottom:1px solid var(--line)}
   nav a{padding:.3rem .55rem;border-radius:.4rem;text-decoration:none}
   nav a[aria-current]{background:var(--mark);font-weight:600}
   a{color:var(--link)} h1{font-size:1.6rem;margin:.75rem 0 .25rem} h2{font-size:1rem;margin:0 0 .4rem;color:var(--soft)}
   .about{margin:0 0 1rem;color:var(--soft)}
   .sides{display:grid;grid-template-columns:minmax(0,1fr);gap:1.25rem}
   @media (min-width:60rem){.sides{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}}
   table{border-collapse:collapse;width:100%}
   td,th{border-bottom:1px solid var(--line);padding:.25rem .6rem .25rem 0;text-align:left;vertical-align:top}
   td{overflow-wrap:anywhere} th{font-weight:600}
   td table td,td table th{border:0;padding-top:0}
   @media (max-width:36rem){td,th{display:block;border:0;padding:0} tr{display:block;border-bottom:1px solid var(--line);padding:.3rem 0}
     td table tr{border:0} td table{padding-left:.75rem}}
   pre,#log{background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .75rem;margin:0}
   pre{overflow-x:auto;font:13px/1.45 ui-monospace,monospace}
   #log{height:18rem;overflow-y:auto;margin-bottom:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}
   .note,.c{color:var(--note)} .s{color:var(--string)} .k{color:var(--word)}
   input,button{font:inherit;color:inherit;background:var(--back);border:1px solid var(--line);border-radius:.4rem;padding:.35rem .6rem;max-width:100%}
   button{background:var(--mark);cursor:pointer} form{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem;margin-bottom:.6rem}
   #out{white-space:pre-wrap;overflow-wrap:anywhere;min-height:5rem}
   form .wide{flex:1 1 12rem;min-width:0} form .name{flex:0 1 8rem;min-width:0}
   .big{font-size:2.5rem;font-variant-numeric:tabular-nums;margin:.25rem 0}
   code{font:.9em ui-monospace,monospace;background:var(--box);border-radius:.25rem;padding:.05rem .25rem;overflow-wrap:anywhere}
   pre code{padding:0;background:none;font:inherit}
   .card{display:grid;align-items:start;grid-template-columns:minmax(0,1fr);gap:.25rem 1.5rem;border-top:1px solid var(--line);padding:.9rem 0}
   @media (min-width:48rem){.card{grid-template-columns:16rem minmax(0,1fr)}}
   .card h2{font-size:1.1rem;margin:0} .card p{margin:.2rem 0 .5rem;color:var(--soft)} .card pre{max-height:15rem;overflow:auto}")

(def ^:private script
  "const $ = id => document.getElementById(id);
   const line = (text, kind) => { const line = document.createElement('div'); line.textContent = text;
     line.className = kind || ''; $('log').append(line); $('log').scrollTop = $('log').scrollHeight; };
   // Shows a response as it comes in.
   const fetchInto = async (id, url, options) => {
     const out = $(id), start = performance.now(); out.textContent = '';
     const response = await fetch(url, {cache: 'no-store', ...options});
     out.textContent = response.status + ' ' + response.headers.get('content-type') + '\\n\\n';
     const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
     for (;;) { const {done, value} = await reader.read(); if (done) break; out.textContent += value; }
     out.textContent += '\\n\\n(' + Math.round(performance.now() - start) + ' ms)'; };")

(def ^:private token #"(;[^\n]*)|(\"(?:[^\"\\]|\\.)*\")|((?<![\w/.-]):[\w?!./-]+)|(?s).")

(defn- highlight
  "Clojure as HTML: comments, strings and keywords stand out."
  [code]
  (str/join (for [[text comment string word] (re-seq token code)]
              (if-let [kind (cond comment "c" string "s" word "k")]
                (str "<span class=" kind ">" (escape text) "</span>")
                (escape text)))))

(defn- code
  "The source of functions, as it stands in the files that run here."
  [symbols]
  (str "<pre><code>"
       (str/join "\n\n" (for [s symbols]
                          (highlight (or (repl/source-fn s) (str ";; " s ": there are no sources on the classpath")))))
       "</code></pre>"))

(defn- nav [path]
  (str "<nav>"
       (str/join (for [[href title] (cons ["/" "Overview"] pages)]
                   (str "<a href='" href "'" (when (= href path) " aria-current=page") ">" (escape title) "</a>")))
       "</nav>"))

(defn- document [path title & body]
  {:status  200
   :headers {"Content-Type" "text/html; charset=utf-8"}
   :body    (str "<!doctype html><html lang=en><meta charset=utf-8>"
                 "<meta name=viewport content='width=device-width, initial-scale=1'>"
                 "<link rel=icon href='/favicon.svg' type='image/svg+xml'>"
                 "<title>" (escape title) " - http-kit demo</title><style>" style "</style>" (nav path)
                 "<main><script>" script "</script><h1>" (escape title) "</h1>" (str/join body) "</main>")})

(defn layout
  "A page of `pages` as a Ring response: what it shows on one side, the code that serves it on the other."
  [path & body]
  (let [[_ title about symbols] (first (filter #(= path (first %)) pages))]
    (document path title
              "<p class=about>" (escape about) "</p><div class=sides><section>" (str/join body)
              "</section><section><h2>The code</h2>" (code symbols) "</section></div>")))

(defn message
  "A page that is not one of `pages`."
  [title text]
  (document nil title "<p>" (escape text) "</p>"))

(defn overview [_]
  (document "/" "http-kit demo"
            "<p class=about>One Ring handler, served by http-kit on Rust. Each page shows one thing and the code behind it.</p>"
            (str/join (for [[path title about symbols] pages]
                        (str "<article class=card><div><h2><a href='" path "'>" (escape title) "</a></h2><p>"
                             (escape about) "</p></div>" (code (take 1 symbols)) "</article>")))))

(def ^:private icon
  "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='7' fill='#0a58a5'/>
   <path d='M8 7v18M8 17c0-4 7-4 7 0v8M19 7v18M26 13l-7 6 7 6' fill='none' stroke='#fff' stroke-width='2.6'
   stroke-linecap='round' stroke-linejoin='round'/></svg>")

(defn favicon [_]
  {:status 200 :headers {"Content-Type" "image/svg+xml" "Cache-Control" "max-age=86400"} :body icon})

(defn table
  "Rows of a map, nested maps as tables within."
  [m]
  (str "<table>"
       (str/join (for [[k v] (sort-by (comp str key) m)]
                   (str "<tr><th>" (escape k) "</th><td>"
                        (if (and (map? v) (seq v)) (table v) (escape (pr-str v)))
                        "</td></tr>")))
       "</table>"))
