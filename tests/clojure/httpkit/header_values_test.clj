(ns httpkit.header-values-test
  "Values of response headers that stand for several lines; those of requests are in client-request-test."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.wire :as wire]
            [org.httpkit.server :as server])
  (:import [java.nio ByteBuffer]
           [java.nio.charset StandardCharsets]
           [java.util ArrayDeque ArrayList LinkedHashSet]
           [org.httpkit DynamicBytes HeaderMap HttpUtils]))

(set! *warn-on-reflection* true)

(def ^:private several
  [["1" "2"] (list "1" "2") (into-array String ["1" "2"]) (object-array ["1" 2]) (ArrayList. ["1" 2])
   (LinkedHashSet. ["1" "2"]) (ArrayDeque. ["1" "2"])])

(defn- lines
  "The values of the lines of header X in the text."
  [text]
  (map second (re-seq #"(?i)\r\nx: ([^\r]*)" (str "\r\n" text))))

(defn- head [port]
  (with-open [conn (wire/connect port)]
    (wire/send! conn "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    (first (str/split (wire/read-rest conn) #"\r\n\r\n"))))

(deftest arrays-and-collections-are-a-line-per-element
  (doseq [values several
          [way handler] {"returned" (fn [_] {:status 200 :headers {"X" values} :body "b"})
                         "sent"     (fn [req] (server/as-channel req {:on-open #(server/send! % {:headers {"X" values} :body "b"})}))
                         "streamed" (fn [_] {:status 200 :headers {"X" values} :body (java.io.ByteArrayInputStream. (byte-array 3))})}]
    (testing (str way " " (class values))
      (wire/with-server [{:keys [port]} handler {}]
        (is (= ["1" "2"] (lines (head port)))))))
  (testing "in a HeaderMap"
    (doseq [values several]
      (let [out (DynamicBytes. 100)]
        (.encodeHeaders (doto (HeaderMap.) (.put "X" values)) out)
        (is (= ["1" "2"] (lines (String. (.get out) 0 (.length out) "UTF-8"))) (str (class values)))))))

(deftest a-content-length-that-is-kept-may-be-an-only-element
  (doseq [[length kept] [["5" "5"] [5 "5"] [["5"] "5"] [(list 5) "5"] [(into-array ["5"]) "5"] [(ArrayList. ["5"]) "5"]
                         [[] nil] [["5" "6"] nil] [[nil] nil]]
          [request response] {"GET"  {:status 304 :headers {"Content-Length" length}}
                              "HEAD" {:status 200 :headers {"Content-Length" length} :body "abc"}}]
    (wire/with-server [{:keys [port]} (constantly response) {:legacy-content-length? false}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (str request " / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        (is (= (or kept (when (= "HEAD" request) "3")) (get-in (wire/read-head conn) [:headers "content-length"]))
            (str request " " (pr-str length))))))
  (testing "of HttpEncode"
    (doseq [length [["5"] (into-array ["5"])]
            :let [^ByteBuffer head (aget (HttpUtils/HttpEncode 304 (doto (HeaderMap.) (.put "Content-Length" length)) nil nil) 0)]]
      (is (re-find #"(?i)\r\ncontent-length: 5\r\n" (str (.decode StandardCharsets/UTF_8 head)))))))

(deftest none-are-no-line
  (doseq [none [[] (into-array String []) (ArrayList.)]]
    (wire/with-server [{:keys [port]} (fn [_] {:status 200 :headers {"X" none} :body "b"}) {}]
      (is (= [] (lines (head port)))))))
