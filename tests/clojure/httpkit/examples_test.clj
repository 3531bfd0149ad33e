(ns httpkit.examples-test
  "The programs of examples/ do what they show."
  (:require [clojure.java.io      :as io]
            [clojure.string       :as str]
            [clojure.test         :refer [deftest is]]
            [httpkit.files        :as files]
            [httpkit.java-program :as java-program]
            [httpkit.wire         :as wire]
            [httpkit.ws-wire      :as ws]
            [org.httpkit.client   :as http])
  (:import (java.io File InputStream)
           (org.httpkit.server HttpServer)))

(set! *warn-on-reflection* true)

(defn- example
  "The value of `sym`, such as hello/start, from the file of that name."
  [sym]
  (let [file (str "examples/" (str/replace (namespace sym) "-" "_") ".clj")]
    (when-not (find-ns (symbol (namespace sym)))
      (load-file file))
    @(resolve sym)))

(defmacro ^:private with-example
  "Runs `body` with `url` of a server that the example's `start` has started."
  [[url start options] & body]
  `(let [stop# ((example ~start) (merge {:port 0, :ip "127.0.0.1"} ~options))
         ~url  (str "http://127.0.0.1:" (:local-port (meta stop#)) "/")]
     (try ~@body (finally (stop#)))))

(defn- port-of [url]
  (Long/parseLong (second (re-find #":(\d+)/" url))))

(defn- status-and-body [response]
  ((juxt :status :body) @response))

(deftest every-example-has-a-line-in-the-readme-and-a-test-here
  (let [names  (set (filter #(re-find #"\.(clj|java)$" %) (map #(.getName ^File %) (file-seq (io/file "examples")))))
        listed (set (map #(last (str/split % #"/")) (map second (re-seq #"\]\(([\w/]+\.\w+)\)" (slurp "examples/README.md")))))
        tested (apply str (map #(slurp (str "tests/clojure/httpkit/" %)) ["examples_test.clj" "cluster_test.clj"]))]
    (is (= names listed))
    (doseq [file names
            :let [stem (str/replace (first (str/split file #"\.")) "_" "-")]]
      (is (re-find (re-pattern (str "'" stem "/|\"" stem "\"|/" file "\\\\\"")) tested) (str "no test names " file)))))

(deftest hello-greets
  (with-example [url 'hello/start {}]
    (is (= [200 "Hello, world!"] (status-and-body (http/get (str url "world")))))))

(deftest middleware-reads-parameters-and-counts-visits-in-a-cookie
  (with-example [url 'middleware/start {}]
    (let [{:keys [body headers]} @(http/get (str url "?name=Ada"))]
      (is (= "Hello, Ada. Visit 1." body))
      (is (= "Hello, stranger. Visit 2."
             (:body @(http/get url {:headers {"Cookie" (first (str/split (:set-cookie headers) #";"))}})))))
    (is (= [200 "Hello, stranger. Visit 1."] (status-and-body (http/get url {:headers {"Cookie" "visits=rubbish"}}))))))

(deftest a-chat-message-reaches-everyone
  (with-example [url 'chat/start {}]
    (let [ada (ws/connect (port-of url) wire/patience-ms)]
      (try
        (is (= [:text "1 here"] (ws/receive! ada)))
        (let [ben (ws/connect (port-of url) wire/patience-ms)]
          (try
            (is (= [[:text "2 here"] [:text "2 here"]] [(ws/receive! ada) (ws/receive! ben)]))
            (ws/send! ben [[:text "hi"]] nil)
            (is (= [[:text "hi"] [:text "hi"]] [(ws/receive! ada) (ws/receive! ben)]))
            (finally (ws/disconnect ben))))
        (is (= [:text "1 here"] (ws/receive! ada)))
        (finally (ws/disconnect ada))))
    (is (= 426 (:status @(http/get url))))))

(defn- read-event [^InputStream in]
  (loop [text ""]
    (if (str/ends-with? text "\n\n")
      (str/trim text)
      (let [byte (.read in)]
        (if (neg? byte) :ended (recur (str text (char byte))))))))

(deftest events-arrive-while-the-stream-stays-open
  (with-example [url 'sse/start {:tick-ms 10}]
    (let [{:keys [headers body]} @(http/get url {:as :stream})]
      (with-open [^InputStream body body]
        (is (= "text/event-stream; charset=utf-8" (:content-type headers)))
        (is (= "data: welcome" (read-event body)))
        (is (re-matches #"event: tick\nid: (\d+)\ndata: \1" (read-event body)))
        (is (re-matches #"event: tick\nid: (\d+)\ndata: \1" (read-event body)))))
    (with-open [^InputStream body (:body @(http/get url {:as :stream :headers {"Last-Event-ID" "17"}}))]
      (is (= "data: welcome back, your last tick was 17" (read-event body))))))

(deftest a-posted-message-ends-every-poll
  (with-example [url 'long-polling/start {}]
    (let [polls (doall (repeatedly 3 #(http/get url)))]
      (is (wire/eventually #(= 3 (count @(example 'long-polling/waiting)))))
      (is (= "sent to 3\n" (:body @(http/post url {:body "news"}))))
      (is (= (repeat 3 [200 "news"]) (map status-and-body polls)))
      (is (wire/eventually #(empty? @(example 'long-polling/waiting))))
      (is (= [200 "sent to 0\n"] (status-and-body (http/post url))) "of no body"))))

(deftest an-uploaded-file-can-be-fetched-and-a-large-one-is-refused
  (let [folder (files/temporary-directory)]
    (with-example [url 'upload/start {:folder folder :max-body 1000}]
      (let [put #(http/put (str url %1) {:body %2})]
        (is (= [201 "saved 5 bytes as a.txt\n"] (status-and-body (put "a.txt" "hello"))))
        (is (= [200 "hello"] (status-and-body (http/get (str url "a.txt") {:as :text}))))
        (is (= 413 (:status @(put "b.txt" (byte-array 1001)))))
        (is (= 400 (:status @(put "..%2Fx" "x"))))
        (is (= 404 (:status @(http/get (str url "missing")))))
        (is (= ["a.txt"] (vec (.list folder))))))))

(deftest a-handler-passes-a-request-on-with-the-client
  (with-example [upstream 'hello/start {}]
    (with-example [url 'proxy/start {:upstream (subs upstream 0 (dec (count upstream)))}]
      (is (= [200 "Hello, proxy!"] (status-and-body (http/get (str url "proxy"))))))
    (with-example [url 'proxy/start {:upstream "http://127.0.0.1:1"}]
      (is (= 502 (:status @(http/get url)))))))

(deftest a-request-target-cannot-make-the-proxy-ask-another-server
  (with-example [secret 'hello/start {}]
    (with-example [url 'proxy/start {:upstream "http://localhost:1"}]
      (doseq [target [(str "@127.0.0.1:" (port-of secret) "/secret") "1.example/" "*"]]
        (with-open [conn (wire/connect (port-of url))]
          (wire/send! conn (str "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"))
          (is (= 400 (:status (wire/answer conn))) target))))))

(deftest a-broken-upload-continues-after-a-restart-where-it-broke-off
  (let [folder (files/temporary-directory)
        text   (apply str (take 200000 (cycle "resumable ")))
        options {:folder folder, :request-buffer-size 0}
        head   #(let [{:keys [status headers]} @(http/head %)] [status (:upload-offset headers) (:upload-length headers)])
        patch  (fn [location offset body]
                 (let [{:keys [status headers]} @(http/patch location {:headers {"Upload-Offset" (str offset)} :body body})]
                   [status (:upload-offset headers)]))
        path   (with-example [url 'resumable-upload/start options]
                 (let [{:keys [status headers]} @(http/post url {:headers {"Upload-Length" (str (count text))}})
                       path     (subs (:location headers) 1)
                       location (str url path)]
                   (is (= 201 status))
                   (is (= [200 "0" "200000"] (head location)))
                   (with-open [conn (wire/connect (port-of url))]
                     (wire/send! conn (str "PATCH /" path " HTTP/1.1\r\nHost: h\r\nUpload-Offset: 0\r\nContent-Length: 200000\r\n\r\n")
                                 (subs text 0 123456))
                     (is (wire/eventually #(= [200 "123456" "200000"] (head location))))
                     (is (= [423 nil] (patch location 123456 "another request while that is being read"))))
                   (is (wire/eventually #(= [409 "123456"] (patch location 5 "x"))) "the first is known to be gone")
                   path))]
    (with-example [url 'resumable-upload/start options]
      (let [location (str url path)]
        (is (= [200 "123456" "200000"] (head location)))
        (is (= 413 (first (patch location 123456 (apply str (repeat 100000 "x"))))))
        (is (= [204 "200000"] (let [[_ offset] (head location)] (patch location offset (subs text (Long/parseLong offset))))))
        (is (= text (slurp (io/file folder path))))
        (is (= [[404 nil] [404 nil]] (map #(patch % 0 "x") [(str url "../etc") (str url (random-uuid))])))
        (is (= [400 413] (map #(:status @(http/post url {:headers {"Upload-Length" %}})) ["-1" "99999999999999999"])))))))

(deftest the-client-example-fetches-uploads-and-reports-errors
  (let [folder (files/temporary-directory)
        file   (io/file folder "download")]
    (with-example [url 'hello/start {}]
      (is (= "200 Hello, one!" ((example 'client/one) (str url "one"))))
      (is (= [200 200] ((example 'client/many) [url url])))
      (is (= 13 ((example 'client/download) (str url "world") file)))
      (let [heard (promise)]
        ((example 'client/with-callback) (str url "x") #(deliver heard (:body %)))
        (is (= "Hello, x!" (deref heard wire/patience-ms :nothing))))
      (is (= "Hello, !" ((example 'client/form) url))))
    (with-example [url 'upload/start {:folder (io/file folder "in")}]
      (is (= 201 ((example 'client/upload) (str url "copy") file))))
    (is (str/starts-with? ((example 'client/one) "http://127.0.0.1:1/") "failed: "))))

(deftest the-java-example-serves
  (let [loader (java-program/loader
                 (java-program/compile! "examples/java" (System/getProperty "java.class.path"))
                 (.getClassLoader HttpServer))
        start  (.getMethod (Class/forName "Embedder" true loader) "start" (into-array Class [Integer/TYPE]))
        server ^HttpServer (.invoke start nil (object-array [(int 0)]))]
    (try
      (is (= [200 "Hello, Java!"] (status-and-body (http/get (str "http://127.0.0.1:" (.getPort server) "/Java")))))
      (finally (.stop server 0)))))
