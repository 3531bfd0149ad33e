(ns httpkit.header-values-test
  "Values of response headers that stand for several lines; those of requests are in client-request-test."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.wire :as wire]
            [org.httpkit.server :as server])
  (:import [java.util ArrayDeque ArrayList LinkedHashSet]
           [org.httpkit DynamicBytes HeaderMap]))

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

(deftest none-are-no-line
  (doseq [none [[] (into-array String []) (ArrayList.)]]
    (wire/with-server [{:keys [port]} (fn [_] {:status 200 :headers {"X" none} :body "b"}) {}]
      (is (= [] (lines (head port)))))))
