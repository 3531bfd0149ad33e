(ns httpkit.demo-page-test
  "The demo's live pages as a browser sees them. The screenshot is left in build/screenshots/chat.png."
  (:require [clojure.java.io    :as io]
            [clojure.test       :refer [deftest is]]
            [demo.app           :as demo]
            [httpkit.browser    :as browser]))

(defn- shows
  "An expression: the page's text has `text` in it."
  [text]
  (str "document.body !== null && document.body.innerText.includes(" (pr-str text) ")"))

(defn- say [tab who text]
  (browser/evaluate tab (str "document.getElementById('name').value = " (pr-str who) ";"
                             "document.getElementById('text').value = " (pr-str text) ";"
                             "document.getElementById('form').requestSubmit(); true")))

(defn- with-demo [f]
  (let [stop! (demo/start {:port 0})]
    (try
      (browser/with-browser (fn [browser] (f browser (str "http://127.0.0.1:" (:local-port (meta stop!))))))
      (finally (stop!)))))

(deftest two-tabs-chat
  (with-demo
    (fn [browser url]
      (let [ada   (browser/open-tab browser (str url "/chat"))
            _     (is (browser/wait-until ada (shows "* 1 here")))
            grace (browser/open-tab browser (str url "/chat"))]
        (is (browser/wait-until ada (shows "* 2 here")))
        (say ada "Ada" "Hello, is anybody there?")
        (is (browser/wait-until grace (shows "Ada: Hello, is anybody there?")))
        (say grace "Grace" "Yes, <b>I</b> am.")
        (is (browser/wait-until ada (shows "Grace: Yes, <b>I</b> am.")) "text, not markup")
        (let [picture (io/file "build/screenshots/chat.png")]
          (browser/screenshot ada picture)
          (is (< 5000 (.length picture))))))))

(deftest the-clock-ticks
  (with-demo
    (fn [browser url]
      (let [tab  (browser/open-tab browser (str url "/clock"))
            time "document.getElementById('time').textContent"]
        (is (browser/wait-until tab (str "document.getElementById('time') !== null && /\\d\\d:\\d\\d/.test(" time ")")))
        (let [before (browser/evaluate tab time)]
          (is (browser/wait-until tab (str time " !== " (pr-str before)))))))))

(deftest the-inbox-delivers
  (with-demo
    (fn [browser url]
      (let [tab (browser/open-tab browser (str url "/inbox"))]
        (is (browser/wait-until tab "document.getElementById('form') !== null"))
        (doseq [text ["first" "second"]]
          ;; The page's request for the next message may still be on its way: sent until it is shown.
          (is (browser/wait-until tab (str "(fetch('/inbox/messages', {method: 'POST', body: " (pr-str text) "}), "
                                           (shows text) ")"))))))))
