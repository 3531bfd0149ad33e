(ns ^:newest-jdk httpkit.demo-page-test
  "The demo's pages as a browser sees them. Screenshots are left in build/screenshots."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [demo.app           :as demo]
            [demo.page          :as page]
            [httpkit.browser    :as browser]
            [httpkit.scheme     :as scheme]
            [org.httpkit.client :as client]))

(defn- shows
  "An expression: the page's text has `text` in it."
  [text]
  (str "document.body !== null && document.body.innerText.includes(" (pr-str text) ")"))

(defn- say [tab who text]
  (browser/evaluate tab (str "document.getElementById('name').value = " (pr-str who) ";"
                             "document.getElementById('text').value = " (pr-str text) ";"
                             "document.getElementById('form').requestSubmit(); true")))

(defn- say-in-inbox [tab text]
  (browser/evaluate tab (str "document.getElementById('text').value = " (pr-str text) ";"
                             "document.getElementById('form').requestSubmit(); true")))

(defn- with-demo [f]
  (let [stop! (demo/start (merge {:port 0} (when scheme/https? {:ssl-port 0})))
        {:keys [local-port ssl-port]} (meta stop!)]
    (try
      (browser/with-browser (fn [browser] (f browser (str (name scheme/scheme) "://127.0.0.1:" (or ssl-port local-port)))))
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
        (let [picture (io/file (str "build/screenshots/chat-" (name scheme/scheme) ".png"))]
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

(deftest the-inbox-delivers-to-every-tab
  (with-demo
    (fn [browser url]
      (let [tabs (vec (repeatedly 2 #(browser/open-tab browser (str url "/inbox"))))]
        (doseq [tab tabs]
          (is (browser/wait-until tab "document.getElementById('form') !== null")))
        (doseq [text ["first" "second" "third"]]
          (is (true? (browser/evaluate (tabs 0) (str "fetch('/inbox/messages', {method: 'POST', body: " (pr-str text) "}); true")))))
        (doseq [tab tabs, text ["first" "second" "third"]]
          ;; Sent without a pause: what comes between a response and the next request is not lost.
          (is (browser/wait-until tab (shows text)) text))
        (say-in-inbox (tabs 1) "from the other")
        (doseq [tab tabs]
          (is (browser/wait-until tab (shows "from the other"))))))))

(deftest the-slow-stream-is-shown-while-it-comes
  (with-demo
    (fn [browser url]
      (let [tab (browser/open-tab browser (str url "/slow"))]
        (is (browser/wait-until tab (shows "line  2 of 20")))
        (is (false? (browser/evaluate tab (shows "line 20 of 20"))) "lines are seen before the last is made")
        (is (browser/wait-until tab (shows "line 20 of 20")))
        (is (browser/wait-until tab (shows " ms)")))))))

(def ^:private paths (cons "/" (map first page/pages)))

(deftest each-page-leads-to-all-others-and-shows-its-code
  (with-demo
    (fn [browser url]
      (doseq [path (concat paths ["/nowhere"])
              :let [tab (browser/open-tab browser (str url path))]]
        (testing path
          (is (browser/wait-until tab (str "document.readyState === 'complete' && Array.from(document.querySelectorAll('nav a'))"
                                           ".map(a => a.getAttribute('href')).join() === " (pr-str (str/join "," paths)))))
          (when (some #{path} paths)
            (is (= path (browser/evaluate tab "document.querySelector('nav a[aria-current]').getAttribute('href')")))
            (is (true? (browser/evaluate tab (shows "(defn")))))))
      (let [tab (browser/open-tab browser url)]
        (is (browser/wait-until tab (str "document.querySelectorAll('.card pre').length === " (count page/pages))) "the overview, too")))))

(deftest each-page-fits-a-telephone-in-light-and-dark
  (with-demo
    (fn [browser url]
      (doseq [path         paths
              :let [tab (browser/open-tab browser (str url path))]
              [width high] [[390 844] [1280 900]]
              scheme       ["light" "dark"]]
        (testing [path width scheme]
          (browser/emulate! tab width high scheme)
          (is (browser/wait-until tab "document.readyState === 'complete' && document.querySelector('main') !== null"))
          (is (browser/wait-until tab (str "document.documentElement.scrollWidth <= " width)) "nothing sticks out")
          (is (= (if (= "dark" scheme) "rgb(20, 23, 26)" "rgb(255, 255, 255)")
                 (browser/evaluate tab "getComputedStyle(document.body).backgroundColor")))
          (browser/screenshot tab (io/file (str "build/screenshots" (if (= "/" path) "/overview" path) "-" width "-" scheme ".png"))))))))

(deftest the-pages-have-an-icon
  (with-demo
    (fn [browser url]
      (let [tab (browser/open-tab browser url)]
        (is (browser/wait-until tab "document.querySelector('link[rel=icon]') !== null"))
        (let [icon @(client/get (str url (browser/evaluate tab "document.querySelector('link[rel=icon]').getAttribute('href')"))
                                {:as :text :insecure? true})]
          (is (= "image/svg+xml" (:content-type (:headers icon))))
          (is (str/starts-with? (:body icon) "<svg")))))))
