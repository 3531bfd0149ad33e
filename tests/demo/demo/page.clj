(ns demo.page
  "HTML of the demo: one layout, and forms of data as tables. No library, so that the demo needs the jar alone."
  (:require [clojure.string :as str]))

(defn escape
  "Text as HTML."
  [x]
  (str/escape (str x) {\& "&amp;" \< "&lt;" \> "&gt;" \" "&quot;"}))

(def ^:private style
  "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:0 auto;padding:1rem;color:#222}
   nav{border-bottom:1px solid #ccc;padding-bottom:.5rem;margin-bottom:1rem}
   nav a{margin-right:1rem} a{color:#0a58a5}
   table{border-collapse:collapse;width:100%} td,th{border-bottom:1px solid #e5e5e5;padding:.2rem .6rem .2rem 0;
   text-align:left;vertical-align:top;overflow-wrap:anywhere} th{white-space:nowrap;font-weight:600}
   #log{border:1px solid #ccc;height:18rem;overflow-y:auto;padding:.5rem;margin-bottom:.5rem;white-space:pre-wrap}
   #log .note{color:#777} input,button{font:inherit;padding:.25rem .5rem} .big{font-size:2.5rem;font-variant-numeric:tabular-nums}
   code{background:#f3f3f3;padding:0 .2rem}")

(def ^:private links
  [["/" "Request"] ["/json?name=value" "JSON"] ["/upload" "Upload"] ["/slow" "Slow stream"] ["/error" "Error"]
   ["/chat" "Chat"] ["/clock" "Clock"] ["/inbox" "Inbox"]])

(defn layout
  "A whole page as a Ring response."
  [title & body]
  {:status  200
   :headers {"Content-Type" "text/html; charset=utf-8"}
   :body    (str "<!doctype html><html lang=en><meta charset=utf-8>"
                 "<meta name=viewport content='width=device-width, initial-scale=1'>"
                 "<title>" (escape title) "</title><style>" style "</style><nav>"
                 (str/join (for [[href text] links] (str "<a href='" href "'>" text "</a>")))
                 "</nav><h1>" (escape title) "</h1>" (str/join body))})

(defn table
  "Rows of a map, nested maps as tables within."
  [m]
  (str "<table>"
       (str/join (for [[k v] (sort-by (comp str key) m)]
                   (str "<tr><th>" (escape k) "</th><td>"
                        (if (and (map? v) (seq v)) (table v) (escape (pr-str v)))
                        "</td></tr>")))
       "</table>"))
