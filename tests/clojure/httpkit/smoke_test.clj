(ns httpkit.smoke-test
  "A handful of whole round trips, quick enough for every JDK, every Clojure and -Xcheck:jni."
  (:require [clojure.test       :refer [deftest is testing]]
            [demo.app           :as demo]
            [httpkit.wire        :as wire]
            [org.httpkit.utils  :as utils])
  (:import [java.io InputStream]
           [java.net HttpURLConnection URL]))

(defn- answer
  "[status body] of one request through the JDK's own client; `body` is sent as a POST."
  ([port path] (answer port path nil))
  ([port path ^String body]
   (let [connection ^HttpURLConnection (.openConnection (URL. (str "http://127.0.0.1:" port path)))]
     (.setReadTimeout connection 20000)
     (when body
       (.setDoOutput connection true)
       (with-open [out (.getOutputStream connection)]
         (.write out (.getBytes body "UTF-8"))))
     (let [status (.getResponseCode connection)
           ^InputStream in (if (< status 400) (.getInputStream connection) (.getErrorStream connection))]
       [status (if in (slurp in :encoding "UTF-8") "")]))))

(deftest the-demo-answers
  (wire/with-server [{:keys [port]} demo/handler {}]
    (is (= 200 (first (answer port "/"))))
    (is (re-find #"&lt;b&gt;" (second (answer port "/request?q=<b>"))) "what came in is escaped")
    (is (re-find #"\"uri\": \"/json/data\"" (second (answer port "/json/data"))))
    (is (= 500 (first (answer port "/error/now"))))
    (is (= 200 (first (answer port "/favicon.svg"))))
    (is (re-find #"defn- failing" (second (answer port "/error"))) "a page shows its code")
    (is (= 404 (first (answer port "/none"))))
    (is (= 400 (first (answer port "/chat/socket"))))
    (is (re-find #"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
                 (second (answer port "/upload" "test"))))))

(deftest bodies-go-both-ways
  (wire/with-server [{:keys [port]} (fn [{:keys [body]}] {:status 200 :body (some-> body slurp)}) {}]
    (doseq [size [1 1000 100000 3000000]
            :let [text (apply str (repeat size \x))]]
      (is (= [200 text] (answer port "/" text)) size))))

(deftest a-request-map-reads-like-any-map
  (let [seen (promise)]
    (wire/with-server [{:keys [port]} (fn [req] (deliver seen (into {} req)) nil) {}]
      (is (= 404 (first (answer port "/path?query"))))
      (is (= {:uri "/path" :query-string "query" :request-method :get :scheme :http}
             (select-keys @seen [:uri :query-string :request-method :scheme]))))))

(deftest native-info-names-what-was-loaded
  (let [info (utils/native-info)]
    (testing info
      (is (every? info [:version :file :platform])))))

(deftest servers-come-and-go
  (dotimes [_ 20]
    (wire/with-server [{:keys [port]} (constantly {:status 204}) {}]
      (is (= 204 (first (answer port "/")))))))
